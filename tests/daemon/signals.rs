//! What an administrator's signals do.

use std::fs;

use crate::harness::Site;

#[test]
fn asked_to_stop_it_checkpoints_and_resumes_where_it_was() {
    let mut site = Site::new();
    site.drop_pictures(0..40);
    site.start();
    site.wait_until("step", 8);
    assert_eq!(site.stop(), Some(0), "{}", site.log());
    let checkpoints = fs::read_dir(site.path("state/streams/pictures/checkpoints")).unwrap();
    let step: u64 = checkpoints
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_prefix("step-")?.parse().ok())
        .max()
        .expect("no checkpoint was written");
    assert!(step >= 8);
    site.start();
    let stream = site.wait_for("the learner to go on", |site| {
        let stream = site.stream()?;
        matches!(stream["state"].as_str()?, "learning" | "bored").then_some(stream)
    });
    assert!(stream["step"].as_u64() >= Some(step), "it began anew: {stream}");
    assert_eq!(stream["sources_accepted"], 40, "a restart recounted or lost files");
    assert_eq!(stream["sources_duplicate"], 0, "a restart took files again");
}

#[test]
fn a_learner_that_lost_its_checkpoints_learns_anew_from_what_was_kept() {
    let mut site = Site::with("[stream.replay]\ndraws_per_sample = 8.0\n");
    site.drop_pictures(0..40);
    site.start();
    // Until what there is has been replayed as often as may be.
    let bored = |site: &Site| {
        let stream = site.stream()?;
        (stream["state"] == "bored" && stream["step"].as_u64()? > 0).then_some(stream)
    };
    let before = site.wait_for("the learner to be bored", bored);
    assert_eq!(site.stop(), Some(0), "{}", site.log());
    fs::remove_dir_all(site.path("state/streams/pictures/checkpoints")).unwrap();
    site.start();
    let again = site.wait_for("the new learner to be bored", bored);
    assert_eq!(again["step"], before["step"], "{again}");
}

#[test]
fn a_reload_takes_a_new_stream_names_what_needs_a_restart_and_keeps_the_old_when_bad() {
    let mut site = Site::new();
    site.drop_pictures(0..5);
    site.start();
    site.wait_until("sources_accepted", 5);

    fs::create_dir(site.path("in2")).unwrap();
    fs::write(site.path("in2/a.png"), crate::harness::picture(77)).unwrap();
    site.configure("[[stream]]\nname = \"second\"\nmodality = \"image\"\ninbox = [\"in2\"]\n");
    site.signal("HUP");
    site.wait_for("the second stream to take its file", |site| {
        let status = site.json(&["status"])?;
        let second = status["streams"]
            .as_array()?
            .iter()
            .find(|stream| stream["name"] == "second")?
            .clone();
        (second["sources_accepted"] == 1).then_some(())
    });
    assert_eq!(site.stream().unwrap()["sources_accepted"], 5);

    // The same file again: nothing is taken over.
    site.wait_for("the reload to be over", |site| {
        site.log().contains("took over the configuration").then_some(())
    });
    site.signal("HUP");
    site.wait_for("the reload to be over", |site| {
        site.log().contains("the new one is the same").then_some(())
    });
    assert_eq!(site.log().matches("took over the configuration").count(), 1);

    // A bad file changes nothing and is named.
    site.configure("[stream.learning]\nbatch = 0.5\n");
    site.signal("HUP");
    site.wait_for("the refusal to be logged", |site| {
        site.log().contains("kept the running configuration").then_some(())
    });
    assert_eq!(site.json(&["status"]).unwrap()["streams"].as_array().unwrap().len(), 2);

    // A key that only a restart can change is named.
    site.configure("");
    let text = fs::read_to_string(site.path("curiod.toml")).unwrap();
    fs::write(
        site.path("curiod.toml"),
        text.replace("[ingest]", "items_max = 7\n[ingest]"),
    )
    .unwrap();
    site.signal("HUP");
    site.wait_for("the key to be named", |site| {
        site.log().contains("server").then_some(())
    });
    assert_eq!(site.stop(), Some(0));
    let log = site.log();
    assert_eq!(log.matches("chose the device").count(), 1, "{log}");
    let opened = log.lines().filter(|line| line.contains("opened the replay buffer"));
    assert!(
        opened
            .clone()
            .all(|line| line.contains("pictures") || line.contains("second")),
        "{log}"
    );
    assert!(opened.count() <= 3, "{log}");
    assert!(
        log.lines()
            .filter(|line| line.contains("paused the ingest"))
            .all(|line| line.contains("INFO")),
        "{log}"
    );
}
