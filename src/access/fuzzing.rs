//! What is promised about any file of keys and any `Authorization`; compiled for fuzzers and tests alone.

use super::{Keys, bearer};

/// The text of a file of keys.
pub fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Keys::parse(text) {
        Ok(keys) => {
            let written: String = keys.iter().map(|key| format!("{key}\n")).collect();
            assert_eq!(Keys::parse(&written), Ok(keys.clone()), "{written}");
            // No text is a key but the one whose hash is there.
            assert!(keys.find(text).is_none() && text.lines().all(|line| keys.find(line).is_none()));
        }
        Err((line, error)) => {
            assert!((1..=text.lines().count()).contains(&line), "there is no line {line}");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// An `Authorization` header.
pub fn authorization(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(token) = bearer(text) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(text.ends_with(token) || text.trim_end().ends_with(token));
        assert!(text[..7].eq_ignore_ascii_case("bearer "));
        assert_eq!(bearer(&format!("Bearer {token}")), Some(token));
    }
}
