//! Files of a later version: a start refuses and touches nothing at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sluice_wal::{FileDisk, Log, WalError};

use crate::owner::config;

/// Every file with its bytes and its mode, folders too.
fn everything(root: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        found.push((folder.clone(), mode(&folder), Vec::new()));
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), mode(&path), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// A log with a file of every kind.
fn make(root: &Path) {
    let mut opened = Log::scan(FileDisk::new(root), config(), 7).unwrap().open(1).unwrap();
    opened.log.append(|_| {}, &[b"body"]);
    let done = opened.log.take_commit(true, 1).unwrap().run();
    opened.log.finish(done).unwrap();
    let position = opened.log.position();
    let mut writer = opened.checkpoints.begin(position).unwrap();
    writer.put([1; 16], b"chunk").unwrap();
    opened.checkpoints.publish(writer, opened.log.synced(), 1).unwrap();
}

/// Makes a file one of the major version after `known`.
fn age(path: &Path, known: u8) {
    let mut bytes = fs::read(path).unwrap();
    if path.ends_with("lock") {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("format 1"), "{text}");
        bytes = text.replace("format 1", "format 2").into_bytes();
    } else {
        assert_eq!(bytes[8..10], [known, 0]);
        bytes[8] = known + 1;
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_of_a_later_version_is_refused_and_nothing_is_touched() {
    // Manifests have a version of their own, which a program that knows 1 refuses.
    let kinds = [
        ("00000001.seg", 1),
        ("checkpoints/00000001.manifest", 3),
        ("checkpoints/00000001.image", 1),
        ("lock", 1),
    ];
    for (kind, newest) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        make(&root);
        age(&root.join(kind), newest as u8);
        // Not what a lock would make of it.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
        let before = everything(&root);
        let refusal = Log::scan(FileDisk::new(&root), config(), 7).unwrap_err();
        let WalError::Version { file, found, known } = &refusal else {
            panic!("{kind}: {refusal}");
        };
        assert_eq!((file.as_str(), *found, *known), (kind, newest + 1, newest));
        assert!(everything(&root) == before, "{kind}");
    }
}

#[test]
fn what_the_first_programs_wrote_is_read() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    fs::write(folder.path().join("lock"), "4711\n").unwrap();
    Log::scan(FileDisk::new(folder.path()), config(), 7).unwrap();
}
