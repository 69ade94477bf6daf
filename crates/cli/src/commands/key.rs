//! `sluice key`: makes, lists and revokes keys in the key file.

use std::path::PathBuf;

use serde_json::json;
use sluice_model::Grants;

use crate::args::{KeyCreateArgs, KeyFileArgs, KeyListArgs, KeyRevokeArgs};
use crate::commands::place;
use crate::failure::Failure;
use crate::key_store;
use crate::keys::{self, Entry};

/// Makes a key and prints it, which nothing can do again.
#[expect(clippy::print_stdout, reason = "it is what the user asked for")]
pub(crate) fn create(args: &KeyCreateArgs) -> Result<(), Failure> {
    let path = path(&args.file)?;
    let mut grants = args.grant.clone();
    if args.all {
        grants.push(Grants::ALL.to_owned());
    }
    let grants = Grants::parse(grants.iter().map(String::as_str)).map_err(Failure::usage)?;
    let (id, key) = key_store::create(&path, args.id.as_deref(), &grants, args.rotate)?;
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
    key_store::revoke(&path(&args.file)?, id, args.oldest)?;
    tell(&format!("key {id} is revoked"));
    Ok(())
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
