//! What becomes of a URL after a request for it.
//!
//! ```text
//! ask --> done                 an answer that stands, or trouble that will not pass
//!  ^ '--> again                trouble that may pass, as often as there are retries
//!  | '--> throttled            429, or 503 with a time: the host has a pause, the URL loses nothing
//!  | '--> redirected           to another URL, under the limits of its host
//!  '------'
//! ```

use std::time::Duration;

use crate::fault::{Fault, FaultKind};
use crate::host::Target;
use crate::options::Options;
use crate::request::{Answer, Attempt};

/// What becomes of a URL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// This is how it ends.
    Done(Ending),
    /// It is asked again after a pause of its own.
    Again(Fault),
    /// It is asked again after a pause of its host.
    Throttled {
        /// How long, if the host said so.
        retry_after: Option<Duration>,
        /// What it answered.
        status: u16,
    },
    /// Another one is asked in its place.
    Redirected(Target),
}

/// How a URL ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// The status of an answer that was read to its end.
    pub(crate) status: Option<u16>,
    /// What was wrong.
    pub(crate) fault: Option<Fault>,
}

impl Ending {
    /// Without an answer.
    pub(crate) fn fault(fault: Fault) -> Self {
        Self { status: None, fault: Some(fault) }
    }
}

/// Judges a request for `target`, before which `redirects` led there and `failures` were counted.
pub(crate) fn judge(
    options: &Options,
    target: &Target,
    redirects: u32,
    failures: u32,
    attempt: &Attempt,
) -> Verdict {
    let (kind, fault, status) = match &attempt.answer {
        Err((kind, fault)) => (*kind, fault.clone(), None),
        Ok(Answer { status: 429, retry_after, .. }) => {
            return Verdict::Throttled { retry_after: *retry_after, status: 429 };
        }
        Ok(Answer { status, retry_after: Some(after), .. }) => {
            return Verdict::Throttled { retry_after: Some(*after), status: *status };
        }
        Ok(Answer { location: Some(to), .. }) => return redirect(options, target, redirects, to),
        Ok(Answer { status, .. }) if *status < 400 => {
            return Verdict::Done(Ending { status: Some(*status), fault: None });
        }
        Ok(Answer { status, .. }) => {
            let kind = FaultKind::Status(*status);
            (kind, kind.with(format!("the site answered {status}")), Some(*status))
        }
    };
    match kind.is_passing() && failures < options.retries {
        true => Verdict::Again(fault),
        false => Verdict::Done(Ending { status, fault: Some(fault) }),
    }
}

fn redirect(options: &Options, target: &Target, redirects: u32, to: &str) -> Verdict {
    let fault = |text| Verdict::Done(Ending::fault(FaultKind::Redirect.with(text)));
    if redirects >= options.redirects_max {
        return fault(format!("more than {} redirects", options.redirects_max));
    }
    match target.redirected(to) {
        Ok(target) => Verdict::Redirected(target),
        Err(error) => fault(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(status: u16, retry_after: Option<Duration>, location: Option<&str>) -> Attempt {
        let location = location.map(ToOwned::to_owned);
        let answer = Ok(Answer { status, retry_after, location });
        Attempt { answer, bytes: 0, took: SECOND }
    }

    fn verdict(attempt: &Attempt, redirects: u32, failures: u32) -> Verdict {
        let options = Options { retries: 2, redirects_max: 1, ..Options::default() };
        judge(&options, &Target::read("http://a/").unwrap(), redirects, failures, attempt)
    }

    #[test]
    fn answers_that_stand_end_it() {
        for status in [200, 204, 304, 300] {
            let expected = Verdict::Done(Ending { status: Some(status), fault: None });
            assert_eq!(verdict(&answer(status, None, None), 0, 0), expected);
        }
        let Verdict::Done(ending) = verdict(&answer(404, None, None), 0, 0) else { panic!() };
        assert_eq!(ending.status, Some(404));
        assert_eq!(ending.fault.unwrap().kind, "status_404");
    }

    #[test]
    fn a_pause_is_taken_from_429_always_and_from_503_with_a_time() {
        let after = Some(SECOND);
        let throttled = |status, retry_after| Verdict::Throttled { retry_after, status };
        assert_eq!(verdict(&answer(429, None, None), 0, 9), throttled(429, None));
        assert_eq!(verdict(&answer(429, after, None), 0, 9), throttled(429, after));
        assert_eq!(verdict(&answer(503, after, None), 0, 9), throttled(503, after));
        assert!(matches!(verdict(&answer(503, None, None), 0, 0), Verdict::Again(_)));
    }

    #[test]
    fn what_may_pass_is_tried_as_often_as_there_are_retries() {
        let broken = |kind: FaultKind| Attempt {
            answer: Err((kind, kind.with("x"))),
            bytes: 0,
            took: SECOND,
        };
        for (failures, again) in [(0, true), (1, true), (2, false)] {
            let is_again = |verdict| matches!(verdict, Verdict::Again(_));
            assert_eq!(is_again(verdict(&answer(500, None, None), 0, failures)), again);
            assert_eq!(is_again(verdict(&broken(FaultKind::Closed), 0, failures)), again);
            assert!(!is_again(verdict(&broken(FaultKind::Tls), 0, failures)));
        }
    }

    #[test]
    fn redirects_lead_to_another_url_a_bounded_number_of_times() {
        let moved = answer(302, None, Some("http://b:81/x"));
        let to = Target::read("http://b:81/x").unwrap();
        assert_eq!(verdict(&moved, 0, 0), Verdict::Redirected(to));
        let ends = |attempt, redirects| match verdict(attempt, redirects, 0) {
            Verdict::Done(Ending { fault: Some(fault), .. }) => (fault.kind, fault.text),
            other => panic!("{other:?}"),
        };
        assert_eq!(ends(&moved, 1), ("redirect".into(), "more than 1 redirects".to_owned()));
        let nowhere = answer(301, None, Some("mailto:me"));
        assert_eq!(ends(&nowhere, 0).0, "redirect");
    }
}
