//! An archive: out of one buffer, into another, and what becomes of one that is damaged.

use super::*;

/// A buffer that has seen all there is: several sources with several samples, the exam, duplicates, a name that is no
/// UTF-8, and samples that were evicted.
fn a_lived_in_buffer(dir: &Path) {
    let buffer = open(dir, &config(200_000));
    for number in 0..120 {
        let mut source = if number % 10 == 0 {
            exam_source(number, 2_000)
        } else {
            source(number, 2_000)
        };
        if number % 7 == 0 {
            source.samples.push(content(number + 10_000, 1_500));
        }
        if number == 3 {
            source.path = b"caf\xe9.png".to_vec();
        }
        buffer.insert(vec![source]).unwrap();
    }
    let mut again = source(5, 2_000);
    again.path = b"again \xff.png".to_vec();
    buffer.insert(vec![again]).unwrap();
    assert!(buffer.counts().samples < 120, "nothing was evicted");
    buffer.close().unwrap();
}

fn exported(dir: &Path) -> Vec<u8> {
    let (archive, report) = export(dir, "pictures", Vec::new()).unwrap();
    assert_eq!(report.bad_records, []);
    archive
}

fn import_into(dir: &Path, archive: &[u8]) -> (ImportReport, Result<(), ArchiveError>) {
    let buffer = open(dir, &config(200_000));
    let mut report = ImportReport::default();
    let done = buffer.import(archive, |_| Ok(()), &mut report);
    buffer.close().unwrap();
    (report, done)
}

fn verified(dir: &Path) {
    let report = ReplayBuffer::verify(dir).unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn an_archive_imported_into_an_empty_buffer_and_exported_again_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    a_lived_in_buffer(&from);
    let archive = exported(&from);
    let (report, done) = import_into(&to, &archive);
    done.unwrap();
    assert_eq!((report.sources, report.known, report.duplicates), (120, 0, 1));
    verified(&to);
    assert!(exported(&to) == archive, "the second archive differs");

    let (before, after) = (reopen(&from, &config(200_000)), reopen(&to, &config(200_000)));
    assert_eq!(everything(&before), everything(&after));
    let sums = |buffer: &ReplayBuffer| {
        let counts = buffer.counts();
        (
            counts.sources_accepted,
            counts.sources_duplicate,
            counts.samples,
            counts.exam_samples,
            counts.inserted_samples,
        )
    };
    assert_eq!(sums(&before), sums(&after));
    for id in before.ids_after(None, usize::MAX) {
        assert_eq!(before.info(id), after.info(id));
    }
    // What was evicted is still known.
    assert!((0..120).all(|number| after.knows(&hash_of(number, number % 10 == 0))));
}

#[test]
fn an_archive_imported_twice_is_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    a_lived_in_buffer(&from);
    let archive = exported(&from);
    import_into(&to, &archive).1.unwrap();
    let (report, done) = import_into(&to, &archive);
    done.unwrap();
    assert_eq!((report.sources, report.samples, report.known), (0, 0, 120));
    assert!(exported(&to) == archive, "the second import changed something");
}

#[test]
fn an_archive_joins_what_a_buffer_already_has() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let buffer = open(&from, &config(200_000));
    buffer.insert(sources(0..20, 100)).unwrap();
    buffer.close().unwrap();
    let buffer = open(&to, &config(200_000));
    buffer.insert(sources(10..40, 100)).unwrap();
    let mut elsewhere = source(0, 100);
    elsewhere.path = b"elsewhere.png".to_vec();
    buffer.insert(vec![elsewhere]).unwrap();
    buffer.close().unwrap();
    let (report, done) = import_into(&to, &exported(&from));
    done.unwrap();
    assert_eq!(
        (report.sources, report.samples, report.known, report.duplicates),
        (9, 9, 10, 1)
    );
    verified(&to);
    let mut kept: Vec<Vec<u8>> = everything(&reopen(&to, &config(200_000))).into_values().collect();
    let mut expected: Vec<Vec<u8>> = (0..40).map(|number| content(number, 100)).collect();
    kept.sort();
    expected.sort();
    assert!(kept == expected);
}

#[test]
fn a_cut_archive_is_named_and_what_was_whole_is_kept_until_the_rest_comes() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let buffer = open(&from, &config(64 << 20));
    // More than one part of the manifest.
    for numbers in [0..1_000, 1_000..1_500] {
        buffer.insert(sources(numbers, 10)).unwrap();
    }
    buffer.close().unwrap();
    let archive = exported(&from);
    let mut rng = for_step(1, 0, 0);
    let random = (0..40).map(|_| rand_core::RngCore::next_u64(&mut rng) as usize % archive.len());
    for (number, len) in random
        .chain([0, 1, 511, 512, archive.len() - 1_024, archive.len() - 1_025])
        .enumerate()
    {
        let to = dir.path().join(format!("to {number}"));
        let (report, done) = import_into(&to, &archive[..len]);
        let error = done.unwrap_err();
        assert!(matches!(error, ArchiveError::Cut { .. }), "{len} bytes: {error}");
        verified(&to);
        assert!([0, 1_024, 1_500].contains(&report.sources), "{report:?}");
        let (rest, done) = import_into(&to, &archive);
        done.unwrap();
        assert_eq!(report.sources + rest.sources, 1_500);
        assert!(exported(&to) == archive, "cut at {len}, it is not the same");
        std::fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn a_changed_byte_is_found_or_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let buffer = open(&from, &config(1 << 20));
    buffer.insert(sources(0..5, 300)).unwrap();
    buffer.close().unwrap();
    let archive = exported(&from);
    let truth = everything(&reopen(&from, &config(1 << 20)));
    let mut found = 0;
    for at in (0..archive.len()).step_by(61) {
        let mut changed = archive.clone();
        changed[at] ^= 1 << (at % 8);
        let to = dir.path().join(format!("to {at}"));
        let (report, done) = import_into(&to, &changed);
        found += usize::from(done.is_err());
        verified(&to);
        let kept = everything(&reopen(&to, &config(1 << 20)));
        assert!(
            kept.iter().all(|(id, content)| truth.get(id) == Some(content)),
            "byte {at}"
        );
        // Only what fills up a block may differ unnoticed.
        assert!(done.is_err() || (report.sources, kept.len()) == (5, 5), "byte {at}");
        std::fs::remove_dir_all(to).unwrap();
    }
    assert!(found > 40, "{found} changes were found");
}

#[test]
fn a_newer_archive_and_one_that_is_none_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    open(&from, &config(1 << 20)).insert(sources(0..2, 10)).unwrap();
    let archive = exported(&from);
    let at = archive
        .windows(18)
        .position(|bytes| bytes == b"\"format_version\":1")
        .unwrap();
    let mut newer = archive.clone();
    newer[at + 17] = b'2';
    let (report, done) = import_into(&dir.path().join("to"), &newer);
    assert_eq!(report, ImportReport::default());
    assert_eq!(
        done.unwrap_err().to_string(),
        "its format is version 2, this curiod knows version 1"
    );
    for foreign in [vec![7; 2_000], vec![0; 2_000]] {
        let done = import_into(&dir.path().join("to"), &foreign).1;
        assert!(matches!(done, Err(ArchiveError::Foreign(_))), "{done:?}");
    }
}

#[test]
fn a_content_that_no_stream_can_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    open(&from, &config(1 << 20)).insert(sources(0..2, 10)).unwrap();
    let archive = exported(&from);
    let buffer = open(&dir.path().join("to"), &config(1 << 20));
    let mut report = ImportReport::default();
    let done = buffer.import(&*archive, |_| Err("it is no picture".to_owned()), &mut report);
    assert!(done.unwrap_err().to_string().contains("it is no picture"));
    assert_eq!((report, buffer.counts().samples), (ImportReport::default(), 0));
}

#[test]
fn an_export_leaves_out_a_damaged_sample_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(dir.path(), &config(1 << 20));
    buffer.insert(sources(0..5, 300)).unwrap();
    buffer.close().unwrap();
    let path = newest_segment(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let wanted = content(2, 300);
    let at = bytes.windows(300).position(|window| window == wanted).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (archive, report) = export(dir.path(), "pictures", Vec::new()).unwrap();
    assert_eq!((report.sources, report.samples), (5, 4));
    assert!(!report.bad_records.is_empty());
    let to = dir.path().join("to");
    import_into(&to, &archive).1.unwrap();
    verified(&to);
}
