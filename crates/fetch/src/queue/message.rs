//! A job as a message: its URL is the payload, its host the key and the group.
//!
//! Behind a redirect the payload has a second line, the URL as it was listed. Counts that are not
//! the broker's stand in headers; a message that somebody else published needs none of them.

use std::str::FromStr;

use sluice_model::{Extras, Lane, Message};

use crate::host::Target;
use crate::job::{Job, Origin};

const LINE: &str = "fetch-line";
const REDIRECTS: &str = "fetch-redirects";
const RETRIES: &str = "fetch-retries";
const THROTTLED: &str = "fetch-throttled";

/// What is published for a job.
pub(super) fn written(job: &Job, dedupe_id: Option<String>) -> Message {
    let Job { target, origin, .. } = job;
    let mut payload = target.url.as_str().to_owned();
    if origin.redirects > 0 {
        payload = format!("{payload}\n{}", origin.url);
    }
    let counts = [
        (LINE, origin.line.unwrap_or_default()),
        (REDIRECTS, origin.redirects.into()),
        (RETRIES, job.retries().into()),
        (THROTTLED, job.throttled().into()),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let headers = counts.map(|(name, count)| (name.to_owned(), count.to_string())).collect();
    let host = target.host.as_str();
    let lane = Lane { group: Some(host.into()), keys: vec![host.into()], ..Lane::default() };
    let extras = Extras { headers, lane, dedupe_id, ..Extras::default() };
    Message { payload: payload.into(), extras: Some(Box::new(extras)) }
}

/// What a message asks for, on its how-manieth attempt, after so many that failed.
pub(super) fn read<'a>(
    payload: &[u8],
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    attempt: u32,
    failures: u32,
) -> Result<Job, String> {
    let text = std::str::from_utf8(payload).map_err(|_| "it is not UTF-8".to_owned())?;
    let (url, listed) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
    let target = Target::read(url).map_err(|error| error.to_string())?;
    let url = if listed.is_empty() { target.url.as_str() } else { listed };
    let origin = Origin {
        url: url.into(),
        line: count(headers.clone(), LINE),
        redirects: count(headers.clone(), REDIRECTS).unwrap_or_default(),
        retries: count(headers.clone(), RETRIES).unwrap_or_default(),
        throttled: count(headers, THROTTLED).unwrap_or_default(),
    };
    // What was neither the first one nor failed was throttled, or given back unasked.
    let throttled = attempt.saturating_sub(1).saturating_sub(failures);
    Ok(Job { target, origin, failures, throttled })
}

fn count<'a, T: FromStr>(
    mut headers: impl Iterator<Item = (&'a str, &'a str)>,
    name: &str,
) -> Option<T> {
    headers.find(|header| header.0 == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::urls::Listed;

    fn job(url: &str) -> Job {
        Job::new(Listed { line: 7, target: Target::read(url).unwrap() })
    }

    fn back(message: &Message, attempt: u32, failures: u32) -> Job {
        let headers = &message.extras.as_ref().unwrap().headers;
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        read(&message.payload, headers, attempt, failures).unwrap()
    }

    #[test]
    fn a_job_comes_back_from_its_message_whatever_led_to_it() {
        let listed = job("http://a.example/x?y");
        assert_eq!(back(&written(&listed, None), 1, 0), listed);
        let tried = Job { failures: 2, throttled: 1, ..listed.clone() };
        assert_eq!(back(&written(&listed, None), 4, 2), tried);
        let long = format!("http://b.example/{}", "z".repeat(20_000));
        let redirected = tried.redirected(Target::read(&long).unwrap());
        let message = written(&redirected, Some("id".to_owned()));
        assert_eq!(back(&message, 1, 0), redirected);
        let extras = message.extras.unwrap();
        assert_eq!(
            (&*extras.lane.keys[0], extras.dedupe_id.unwrap().as_str()),
            ("b.example:80", "id")
        );
        // The present target's counts go on.
        let again = back(&written(&redirected, None), 3, 1);
        assert_eq!((again.requests(), again.retries(), again.throttled()), (6, 3, 2));
    }

    #[test]
    fn a_url_that_somebody_published_is_a_job_and_anything_else_says_why_not() {
        let job = read(b"http://a.example/\n", [].into_iter(), 1, 0).unwrap();
        assert_eq!((&*job.origin.url, job.origin.line), ("http://a.example/", None));
        let odd = [(LINE, "seven"), ("other", "1")];
        assert_eq!(read(b"http://a.example/", odd.into_iter(), 1, 0).unwrap(), job);
        let error = read(b"nowhere", [].into_iter(), 1, 0).unwrap_err();
        assert!(error.starts_with("\"nowhere\" is no URL"), "{error}");
        assert!(read(b"\xff", [].into_iter(), 1, 0).is_err());
    }
}
