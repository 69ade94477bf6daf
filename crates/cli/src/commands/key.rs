//! `sluice key`: makes, lists and revokes keys in the key file.
//!
//! ```text
//! create --> one secret --create --rotate--> two --revoke --oldest--> the new one
//!                '-------------- revoke --------'--> gone
//! ```

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use sluice_model::Grants;
use sluice_server::KeyHash;

use crate::args::{KeyCreateArgs, KeyFileArgs, KeyListArgs, KeyRevokeArgs};
use crate::commands::place;
use crate::failure::Failure;
use crate::keys::{self, Entry, SECRETS_MAX};

/// Makes a key and prints it, which nothing can do again.
#[expect(clippy::print_stdout, reason = "it is what the user asked for")]
pub(crate) fn create(args: &KeyCreateArgs) -> Result<(), Failure> {
    let path = path(&args.file)?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => hex(&random::<4>()?),
    };
    keys::check_id(&id).map_err(Failure::usage)?;
    let mut grants = args.grant.clone();
    if args.all {
        grants.push(Grants::ALL.to_owned());
    }
    let grants = Grants::parse(grants.iter().map(String::as_str)).map_err(Failure::usage)?;
    let key = format!("slc_{id}_{}", hex(&random::<32>()?));
    let hash = KeyHash::of(&key).to_string();
    keys::edit(&path, |entries| match entries.iter_mut().find(|entry| entry.id == id) {
        Some(_) if !args.rotate => Err(Failure::Other(format!(
            "there is a key {id}; --rotate gives it a second secret, revoke takes it away"
        ))),
        Some(entry) if entry.hashes.len() >= SECRETS_MAX => Err(Failure::Other(format!(
            "key {id} has two secrets; take the older away first: sluice key revoke {id} --oldest"
        ))),
        Some(entry) => {
            entry.hashes.push(hash);
            Ok(())
        }
        None if args.rotate => Err(no_such(&id)),
        None => {
            let (id, created_at) = (id.clone(), now());
            entries.push(Entry { id, created_at, hashes: vec![hash], grants: grants.to_texts() });
            Ok(())
        }
    })?;
    if args.json {
        println!("{}", json!({ "id": id, "key": key }));
    } else {
        println!("{key}");
    }
    tell("this key is shown only now");
    Ok(())
}

/// Shows what there is, without any hash.
#[expect(clippy::print_stdout, reason = "it is what the user asked for")]
pub(crate) fn list(args: &KeyListArgs) -> Result<(), Failure> {
    let entries = keys::read(&path(&args.file)?)?.unwrap_or_default();
    if args.json {
        let keys = entries.iter().map(|entry| {
            let Entry { id, created_at, hashes, grants } = entry;
            json!({ "id": id, "created_at": created_at, "secrets": hashes.len(), "grants": grants })
        });
        println!("{}", json!({ "keys": keys.collect::<Vec<_>>() }));
        return Ok(());
    }
    let widest = entries.iter().map(|entry| entry.id.len()).max().unwrap_or(0).max(2);
    println!("{:<widest$}  {:<20}  secrets  grants", "id", "created");
    for Entry { id, created_at, hashes, grants } in entries {
        println!("{id:<widest$}  {created_at:<20}  {:<7}  {}", hashes.len(), grants.join(" "));
    }
    Ok(())
}

/// Takes a key away, or only the older of its two secrets.
pub(crate) fn revoke(args: &KeyRevokeArgs) -> Result<(), Failure> {
    let id = &args.id;
    keys::check_id(id).map_err(Failure::usage)?;
    let path = path(&args.file)?;
    if keys::read(&path)?.is_none() {
        return Err(no_such(id));
    }
    keys::edit(&path, |entries| {
        let at = entries.iter().position(|entry| entry.id == *id).ok_or_else(|| no_such(id))?;
        if !args.oldest {
            entries.remove(at);
            return Ok(());
        }
        match entries.get_mut(at).map(|entry| &mut entry.hashes) {
            Some(hashes) if hashes.len() > 1 => {
                hashes.remove(0);
                Ok(())
            }
            _ => Err(Failure::Other(format!("key {id} has one secret; leave out --oldest"))),
        }
    })?;
    tell(&format!("key {id} is revoked"));
    Ok(())
}

fn no_such(id: &str) -> Failure {
    Failure::Other(format!("there is no key {id}"))
}

#[expect(clippy::print_stderr, reason = "standard output is for what programs read")]
fn tell(what: &str) {
    eprintln!("{what}; a running broker takes the change when it gets SIGHUP");
}

/// The key file that a broker with the same arguments would read.
fn path(args: &KeyFileArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.keys_file {
        return Ok(path.clone());
    }
    let settings = place::settings(&args.place)?;
    settings.keys_path().ok_or_else(|| Failure::Other("give the key file with --keys-file".into()))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Failure::other)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs())
}

/// Seconds since 1970 as RFC 3339 has them. The date is by Howard Hinnant's `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
