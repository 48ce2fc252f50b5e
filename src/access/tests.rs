//! Keys, their file, and who may read it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_lines_are_keys_or_refused_by_their_number(
        lines in vec("[a-z0-9_ #-]{0,12}( (read|label|metrics|admin|x)(,(read|admin))?( blake3:[0-9a-f]{63,65})?)?[\\r#]?", 0..6)
    ) {
        fuzzing::keys(lines.join("\n").as_bytes());
    }

    #[test]
    fn any_header_is_a_bearers_or_none(text in "(Bearer|bearer|Basic|)[ \\t]{0,2}\\PC{0,40}") {
        fuzzing::authorization(text.as_bytes());
    }
}

fn key(name: &str, scopes: &str) -> (Secret, Key) {
    let secret = Secret::new().unwrap();
    let key = Key::of(name.parse().unwrap(), scopes.parse().unwrap(), &secret);
    (secret, key)
}

#[test]
fn a_key_is_found_by_itself_and_by_nothing_else() {
    let (secret, mine) = key("mine", "read,label");
    let (_, other) = key("other", "admin");
    let keys = Keys::parse(&format!("# keys\n{other}\n\n{mine} # of the camera\n")).unwrap();
    assert_eq!(keys.find(secret.reveal()), Some(&mine));
    let line = mine.to_string();
    let hash = line.split(' ').nth(2).unwrap();
    let almost = &secret.reveal()[..secret.reveal().len() - 1];
    for wrong in [
        "",
        "mine",
        hash,
        &hash[7..],
        almost,
        &format!("{} ", secret.reveal()),
        &"x".repeat(1 << 20),
    ] {
        assert_eq!(keys.find(wrong), None);
    }
    assert!(!line.contains(secret.reveal()), "the file holds the key itself");
}

#[test]
fn each_new_key_is_another_with_256_bits() {
    let keys: BTreeSet<String> = (0..100).map(|_| Secret::new().unwrap().0).collect();
    assert_eq!(keys.len(), 100);
    for key in keys {
        let random = URL_SAFE_NO_PAD.decode(key.strip_prefix("curiod_").unwrap()).unwrap();
        assert_eq!(random.len() * 8, 256);
    }
}

#[test]
fn scopes_allow_what_they_name_and_admin_everything() {
    let scopes: Scopes = "read,metrics".parse().unwrap();
    assert_eq!(Scope::ALL.map(|scope| scopes.allow(scope)), [true, false, false, true]);
    let admin: Scopes = "admin".parse().unwrap();
    assert!(Scope::ALL.into_iter().all(|scope| admin.allow(scope)));
    for wrong in ["", "read,", "write", "read,read", "Read", "read label"] {
        assert_eq!(wrong.parse::<Scopes>(), Err(KeyError::Scopes), "{wrong}");
    }
}

#[test]
fn a_wrong_line_is_named_by_its_number_and_not_by_what_it_holds() {
    let (secret, good) = key("a", "read");
    let hash = good.to_string().split(' ').nth(2).unwrap().to_owned();
    for (line, error) in [
        (format!("b read {}", secret.reveal()), KeyError::Hash),
        ("b read blake3:00".to_owned(), KeyError::Hash),
        (format!("B read {hash}"), KeyError::Name),
        (format!("-b read {hash}"), KeyError::Name),
        (format!("b write {hash}"), KeyError::Scopes),
        (secret.reveal().to_owned(), KeyError::Fields),
        (format!("b read {hash} more"), KeyError::Fields),
        (format!("b read {hash}"), KeyError::Twice),
        (key("a", "admin").1.to_string(), KeyError::Twice),
    ] {
        assert_eq!(Keys::parse(&format!("{good}\n{line}\n")), Err((2, error)), "{line}");
        assert!(!error.to_string().contains(secret.reveal()));
    }
    let many: String = (0..=KEYS_MAX)
        .map(|n| format!("{}\n", key(&format!("k{n}"), "read").1))
        .collect();
    assert_eq!(Keys::parse(&many), Err((KEYS_MAX + 1, KeyError::TooMany)));
}

#[test]
fn bearer_tokens_are_read_and_other_schemes_are_not() {
    assert_eq!(bearer("Bearer curiod_x"), Some("curiod_x"));
    assert_eq!(bearer("bEARER  curiod_x "), Some("curiod_x"));
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        "Bearer a b",
        "Bearer\tcuriod_x",
        "Bearer \u{fc}",
        "curiod_x",
    ] {
        assert_eq!(bearer(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_file_that_others_may_read_or_change_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    add(&path, &key("a", "read").1).unwrap();
    for (mode, readers, is_refused) in [
        (0o600, Readers::Owner, false),
        (0o400, Readers::Owner, false),
        (0o640, Readers::Owner, true),
        (0o640, Readers::Group, false),
        (0o660, Readers::Group, true),
        (0o604, Readers::Group, true),
        (0o602, Readers::Owner, true),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = read_private(&path, readers);
        assert_eq!(read.is_err(), is_refused, "{mode:o} {readers:?}");
        if let Err(error) = read {
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
            assert!(error.hint().contains("chmod 600"), "{}", error.hint());
        }
    }
}

#[test]
fn what_is_no_file_of_keys_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let large = folder.path().join("large");
    fs::write(&large, vec![b'#'; 1 << 21]).unwrap();
    fs::set_permissions(&large, fs::Permissions::from_mode(0o600)).unwrap();
    for (path, said) in [
        (&pipe, "no regular file"),
        (&large, "too large"),
        (&folder.path().join("none"), "failed to read"),
    ] {
        let error = read_keys(path).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn keys_come_and_go_and_the_rest_of_the_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let ((_, a), (_, b)) = (key("a", "read"), key("b", "admin"));
    add(&path, &a).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let commented = format!("# ours, without an end of its line\n{a}");
    fs::write(&path, &commented).unwrap();
    add(&path, &b).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{commented}\n{b}\n"));
    assert!(matches!(add(&path, &key("b", "read").1), Err(AccessError::Line { .. })));
    revoke(&path, &"a".parse().unwrap()).unwrap();
    assert!(matches!(
        revoke(&path, &"a".parse().unwrap()),
        Err(AccessError::Unknown { .. })
    ));
    assert_eq!(read_keys(&path).unwrap(), Keys(vec![b]));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "something is left beside the file"
    );
}

#[test]
fn a_clients_file_holds_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("curiod_abc\n");
    assert_eq!(read_secret(&path).unwrap().reveal(), "curiod_abc");
    for wrong in ["", "\n", "two words", "a\nb", "\u{fc}"] {
        write(wrong);
        assert!(read_secret(&path).is_err(), "{wrong:?}");
    }
}
