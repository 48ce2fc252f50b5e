//! A backtest of an archive that a stranger might have: what it says, what it writes, what it leaves behind.

use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Output;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;

use crate::harness::curiod;

const LABELS: u32 = 4;
const OF_EACH: u32 = 40;
const UNLABELLED: u32 = 8;

/// Pictures of four kinds of stripes, kind after kind, a quarter of them left out for scoring, and their manifest.
fn archive(folder: &Path) {
    let mut manifest = "path,kind,split,extra\n".to_owned();
    for label in 0..LABELS {
        for number in 0..OF_EACH {
            let stripes = RgbImage::from_fn(32, 32, |x, y| {
                let along = [x, y, x + y, x + 31 - y][label as usize];
                let wave = ((along + number) * (3 + number % 5) * 8 % 256) as u8;
                Rgb([wave, wave.wrapping_add((number * 5) as u8), 255 - wave])
            });
            let mut png = Cursor::new(Vec::new());
            stripes.write_to(&mut png, ImageFormat::Png).unwrap();
            let name = format!("{label}-{number}.png");
            fs::write(folder.join(&name), png.into_inner()).unwrap();
            let split = if number % 4 == 0 { "test" } else { "train" };
            writeln!(manifest, "{name},stripes {label},{split},x").unwrap();
        }
    }
    // Some that arrive with the others and that nobody gave a label.
    for number in 0..UNLABELLED {
        let plain = RgbImage::from_pixel(32, 32, Rgb([(number * 9) as u8, 0, 99]));
        plain.save(folder.join(format!("plain-{number}.png"))).unwrap();
        writeln!(manifest, "plain-{number}.png,,train,x").unwrap();
    }
    manifest += "plain-0.png,,test,x\n";
    fs::write(folder.join("broken.png"), b"no picture").unwrap();
    manifest += "broken.png,stripes 0,train,x\nabsent.png,stripes 0,train,x\n";
    fs::write(folder.join("order.csv"), manifest).unwrap();
}

fn backtest(folder: &Path, arguments: &[&str]) -> Output {
    let settings = ["learning.batch=16", "learning.image_px=32", "learning.precision=fp32"];
    let mut command = curiod();
    command.arg("backtest").arg("--data").arg(folder).arg("--order");
    command.arg(folder.join("order.csv")).args(["--labels", "kind"]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.arg("--scratch").arg(folder.join("scratch")).args(arguments);
    command.env("CURIOD__THREADS__LEARN", "1").output().unwrap()
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_backtest_plays_every_arm_and_leaves_only_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path());
    fs::create_dir(dir.path().join("scratch")).unwrap();
    let out = dir.path().join("out");
    let report = json(&backtest(
        dir.path(),
        &[
            "--seeds",
            "2",
            "--steps",
            "12",
            "--experiences",
            "4",
            "--buffer",
            "40",
            "--scored",
            "2",
            "--json",
            "--arm",
            "newest=replay.remover=fifo,replay.recent_share=0.5",
            "--out",
            out.to_str().unwrap(),
        ],
    ));
    assert_eq!(report["stream"]["pictures"], 3 * LABELS * OF_EACH / 4 + UNLABELLED);
    assert_eq!(report["stream"]["labels"], LABELS, "no label is none of them");
    assert_eq!(report["stream"]["asked"], LABELS * OF_EACH / 4);
    assert_eq!(report["stream"]["passed_over"], 2, "the broken and the absent file");
    let arms = report["arms"].as_object().unwrap();
    let names = [
        "random",
        "pixels",
        "iid",
        "naive",
        "fifo",
        "reservoir",
        "minred",
        "curiod",
        "newest",
    ];
    assert_eq!(arms.len(), names.len(), "{:?}", arms.keys());
    for name in names {
        let arm = &arms[name];
        for number in ["knn_final", "linear_final", "knn_average"] {
            let values = arm[number]["values"].as_array().unwrap();
            assert_eq!(values.len(), 2, "{name} {number}");
            assert!(
                values
                    .iter()
                    .all(|value| (0.0..=1.0).contains(&value.as_f64().unwrap())),
                "{arm}"
            );
        }
        let learns = !["random", "pixels"].contains(&name);
        let steps = arm["steps"]["mean"].as_f64().unwrap();
        assert!(
            if learns {
                (6.0..=12.0).contains(&steps)
            } else {
                steps == 0.0
            },
            "{name}: {steps} steps"
        );
        if learns {
            assert_eq!(arm["curve"].as_array().unwrap().len(), 8, "{name}");
            let shares: f64 = arm["buffer_share"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it.as_f64().unwrap())
                .sum();
            assert!((shares - 1.0).abs() < 1e-9, "{name}: {arm}");
        }
    }
    assert_eq!(arms["iid"]["steps"]["mean"], 12.0);
    assert_eq!(arms["iid"]["R"]["values"].as_array().unwrap().len(), 2);
    let of_fifo = arms["fifo"]["buffer_share"].as_array().unwrap();
    assert_eq!(
        of_fifo[0], 0.0,
        "a queue of 40 holds nothing of the first of four kinds: {of_fifo:?}"
    );
    for (file, says) in [
        ("accuracy.svg", "curiod"),
        ("buffer.svg", "reservoir"),
        ("report.json", "\"knn_final\""),
    ] {
        assert!(fs::read_to_string(out.join(file)).unwrap().contains(says), "{file}");
    }
    assert_eq!(fs::read_dir(dir.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn the_same_backtest_finds_the_same_and_a_tar_is_as_good_as_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path());
    let arguments = [
        "--arms",
        "random,iid,reservoir",
        "--seeds",
        "1",
        "--steps",
        "6",
        "--json",
    ];
    let finals = |report: &Value| {
        ["random", "iid", "reservoir"].map(|arm| report["arms"][arm]["knn_final"]["values"][0].as_f64().unwrap())
    };
    let first = json(&backtest(dir.path(), &arguments));
    assert_eq!(finals(&first), finals(&json(&backtest(dir.path(), &arguments))));
    let tar = dir.path().join("pictures.tar");
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(dir.path())
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    let mut again = vec!["--data", tar.to_str().unwrap()];
    again.extend(arguments);
    let mut command = curiod();
    command
        .arg("backtest")
        .args(&again)
        .arg("--order")
        .arg(dir.path().join("order.csv"));
    command.args([
        "--labels",
        "kind",
        "--set",
        "learning.batch=16",
        "--set",
        "learning.image_px=32",
    ]);
    command
        .args(["--set", "learning.precision=fp32"])
        .env("CURIOD__THREADS__LEARN", "1");
    assert_eq!(finals(&first), finals(&json(&command.output().unwrap())));
}

#[test]
fn what_can_not_be_played_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path());
    for (arguments, words) in [
        (["--arms", "best"], "there is no arm `best`"),
        (["--arm", "mine=replay.nothing=1"], "nothing"),
        (["--experiences", "season"], "no column `season`"),
        (["--only", "extra=y"], "0 pictures arrive"),
        (["--set", "replay.sampler"], "has no value"),
    ] {
        let output = backtest(dir.path(), &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(words) && said.contains("hint: "), "{arguments:?}: {said}");
    }
}
