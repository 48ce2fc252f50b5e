//! Labels: given, made classifiers of, and still there after a kill, a restart and a new generation.

use std::fs;

use serde_json::Value;

use crate::harness::{self, Site};

/// A PNG picture of its number: noise that is dark where the number is even, else bright.
fn picture(number: u32) -> Vec<u8> {
    let (mut noise, base) = (
        number.wrapping_mul(2_654_435_761) | 1,
        if number.is_multiple_of(2) { 10 } else { 170 },
    );
    let image = image::RgbImage::from_fn(40, 40, |_, _| {
        let mut next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            base + (noise >> 24) as u8 % 70
        };
        image::Rgb([next(), next(), next()])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn class(number: u32) -> &'static str {
    if number.is_multiple_of(2) { "dark" } else { "bright" }
}

/// The class of a file by its name: those of the harness are `p` and a number.
fn class_of(path: &str) -> &'static str {
    path.trim_end_matches(".png").parse().map_or("pattern", class)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

#[test]
fn a_few_labels_make_a_classifier_that_outlives_kills_and_new_generations() {
    let mut site = Site::new();
    // Labels of a folder whose files are yet to be taken.
    for number in 0..6u32 {
        let path = site.path("labelled").join(class(number)).join(format!("{number}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, picture(number)).unwrap();
    }
    site.start();
    let folder = site.path("labelled");
    let kept = site.json(&["labels", "import", folder.to_str().unwrap()]).unwrap();
    assert_eq!((&kept["added"], &kept["to_come"]), (&6.into(), &6.into()), "{kept}");
    for number in 0..60 {
        site.drop_file(&format!("{number:05}.png"), &picture(number));
    }
    let patterns = |site: &Site, numbers: std::ops::Range<u32>| {
        for number in numbers {
            site.drop_file(&format!("p{number:05}.png"), &harness::picture(number));
        }
    };
    patterns(&site, 0..120);
    site.wait_until("generation", 1);
    site.wait_until("index_covered", 180);
    assert!(
        site.json(&["classify", folder.join("dark/0.png").to_str().unwrap()])
            .is_none()
    );

    let head = site.wait_for("a classifier", |site| site.json(&["heads", "fit"]));
    assert_eq!(
        (&head["samples"], &head["labels_unheld"]),
        (&6.into(), &0.into()),
        "{head}"
    );
    let classified = |site: &Site| {
        let new: Vec<String> = (100..110u32)
            .map(|number| {
                let path = site.path(&format!("{number}.png"));
                fs::write(&path, picture(number)).unwrap();
                path.to_str().unwrap().to_owned()
            })
            .collect();
        let mut arguments = vec!["classify"];
        arguments.extend(new.iter().map(String::as_str));
        let answer = site.json(&arguments)?;
        let results = answer["results"].as_array().unwrap();
        let right = (100..110)
            .zip(results)
            .filter(|(number, result)| text(result, "label") == class(*number));
        assert!(right.count() >= 8, "{answer}");
        answer["generation"].as_u64()
    };
    let before = classified(&site).unwrap();

    // A label by path, one by number, and some that can not be.
    assert_eq!(
        site.client(&["labels", "add", "00006.png", "--label", "dark"])
            .status
            .code(),
        Some(0)
    );
    let refused = site.client(&["labels", "add", "nowhere.png", "--label", "dark"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no file of this path was taken yet"),
        "{refused:?}"
    );

    // What to label next, as a table that is filled in and given back.
    let queue = site.client(&["label-queue", "--strategy", "mixed", "--n", "8", "--format", "csv"]);
    let table = String::from_utf8(queue.stdout).unwrap();
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    assert_eq!(
        (lines.len(), lines[0].as_str()),
        (9, "id,label,path,strategy,score,url,text"),
        "{table}"
    );
    for line in &mut lines[1..] {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let labelled = (0..7).any(|number| cells[2] == format!("{number:05}.png"));
        assert!(!labelled, "{line} has a label");
        cells[1] = class_of(&cells[2]).to_owned();
        *line = cells.join(",");
    }
    let filled_in = site.path("filled-in.csv");
    fs::write(&filled_in, lines.join("\n")).unwrap();
    let kept = site.json(&["labels", "import", filled_in.to_str().unwrap()]).unwrap();
    assert_eq!(
        (&kept["added"], &kept["failed"]),
        (&8.into(), &Value::Array(Vec::new())),
        "{kept}"
    );

    site.kill();
    site.start();
    // Nobody asks for it: it is fitted again when the index is there again.
    let generation = site.wait_for("the classifier after a restart", classified);
    let listed = site.json(&["labels", "list"]).unwrap();
    assert_eq!(listed["labels"].as_array().unwrap().len(), 15, "{listed}");
    assert!(generation >= before);
    site.wait_for("a classifier of a later generation", |site| {
        // More to learn, so that there is one.
        let next = 1_000 + site.stream()?["sources_accepted"].as_u64()? as u32;
        patterns(site, next..next + 1);
        classified(site).filter(|generation| *generation > before)
    });
    let heads = site.json(&["heads", "list"]).unwrap();
    assert!(heads["heads"][0]["samples"].as_u64().unwrap() >= 15, "{heads}");
    assert!(
        heads["heads"][0]["tested"]["accuracy"].as_f64().unwrap() > 0.7,
        "{heads}"
    );

    // A copy of the network as well: the command waits for it, and it is trained again when the daemon starts again.
    let state = |head: &Value| text(&head["finetune"], "state").to_owned();
    let tuned = site.json(&["heads", "fit", "--finetune"]).unwrap();
    assert!(["answers", "no_better"].contains(&state(&tuned).as_str()), "{tuned}");
    let told = site.client(&["heads", "list"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("copy") && told.contains("of the same"), "{told}");
    site.kill();
    site.start();
    site.wait_for("the copy after a restart", |site| {
        let heads = site.json(&["heads", "list"])?;
        let head = heads["heads"].get(0)?.clone();
        ["answers", "no_better"].contains(&state(&head).as_str()).then_some(())
    });
}
