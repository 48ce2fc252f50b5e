//! The streams on which curiod has to earn its defaults: one that is easy, and those that make plain replay fail.
//! Always true: a stream is a function of the pictures in CURIOD_TEST_DATA alone; no picture that is asked arrives.

use std::io::Read;
use std::path::Path;

use curiod::backtest::{Archive, ArchiveSetup, Cut, Item};
use curiod::ids::SourceHash;
use curiod::rng::{self, Rng};
use curiod::sample::image::ImageLimits;
use curiod::sample::{Content, Cutting, ImageTile};

/// Side of the pictures, as they are kept.
const PX: u32 = 32;

/// A stream, and how it is played.
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) make: fn(&Path) -> Archive,
    /// Samples that the buffer may hold.
    pub(crate) buffer: usize,
    /// Steps of each arm.
    pub(crate) steps: u64,
    /// Times that each experience is scored.
    pub(crate) scored: usize,
    /// Whether it is played only where it is named: hours of it are wanted seldom.
    pub(crate) only_named: bool,
}

pub(crate) const ALL: [Stream; 10] = [
    Stream {
        name: "easy",
        what: "CIFAR-10, two classes after two",
        make: cifar,
        buffer: 2_000,
        steps: 1_280,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "small_buffer",
        what: "the same, the buffer 2 % of the stream",
        make: cifar,
        buffer: 200,
        steps: 400,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "near_duplicates",
        what: "3,000 of the same, each followed by 10 near-duplicates of it",
        make: near_duplicates,
        buffer: 600,
        steps: 400,
        scored: 3,
        only_named: false,
    },
    Stream {
        name: "noise",
        what: "the same, and a picture of noise after every fourth",
        make: noise,
        buffer: 2_000,
        steps: 400,
        scored: 3,
        only_named: false,
    },
    Stream {
        name: "return",
        what: "A, B, A: 4,000 of classes 0 to 4, 2,000 of 5 to 9, and 1,000 of 0 to 4 again, shuffled within each",
        make: there_and_back,
        buffer: 400,
        steps: 400,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "recurring",
        what: "100,000 pictures: ten rounds of all classes, two after two, each picture cut out otherwise in each round",
        make: recurring,
        buffer: 2_000,
        steps: 400,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "omniglot",
        what: "characters, alphabet after alphabet",
        make: omniglot,
        buffer: 400,
        steps: 400,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "trash",
        what: "photos of rubbish, material after material",
        make: trash,
        buffer: 100,
        steps: 320,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "domains",
        what: "2,000 of CIFAR-10, then Omniglot, then blood smears, then rubbish",
        make: domains,
        buffer: 500,
        steps: 400,
        scored: 1,
        only_named: false,
    },
    Stream {
        name: "steady",
        what: "100,000 pictures of all classes, shuffled; then characters, the first 192 an experience of their own",
        make: steady,
        buffer: 2_000,
        steps: 20_000,
        scored: 10,
        only_named: true,
    },
];

/// CIFAR-10, class after class, in five experiences of two classes.
fn cifar(data: &Path) -> Archive {
    let folder = data.join("images/cifar10");
    open(
        &folder.join("cifar10.tar"),
        &folder.join("manifest.csv"),
        "class",
        Cut::Parts(5),
    )
}

fn near_duplicates(data: &Path) -> Archive {
    let mut archive = every(cifar(data), 10, 3);
    let mut stream = Vec::with_capacity(archive.stream.len() * 11);
    for item in &archive.stream {
        stream.push(item.clone());
        for copy in 0..10 {
            let mut rng = random(item, copy);
            let tile = jittered(&cut_out(tile_of(item), 1, false, &mut rng), &mut rng);
            stream.push(like(item, copy, tile));
        }
    }
    archive.ends.iter_mut().for_each(|end| *end *= 11);
    archive.stream = stream;
    archive
}

fn noise(data: &Path) -> Archive {
    let mut archive = cifar(data);
    let mut stream = Vec::with_capacity(archive.stream.len() * 5 / 4);
    for (number, item) in archive.stream.iter().enumerate() {
        stream.push(item.clone());
        if number % 4 == 3 {
            let mut rng = random(item, 99);
            let rgb = (0..PX * PX * 3).map(|_| rng::below(&mut rng, 256) as u8).collect();
            let side = PX as u16;
            stream.push(Item {
                label: None,
                ..like(
                    item,
                    99,
                    ImageTile {
                        width: side,
                        height: side,
                        rgb,
                    },
                )
            });
        }
    }
    archive.ends.iter_mut().for_each(|end| *end = *end * 5 / 4);
    archive.stream = stream;
    archive
}

fn there_and_back(data: &Path) -> Archive {
    let mut archive = cifar(data);
    let (a, b): (Vec<Item>, Vec<Item>) = archive.stream.into_iter().partition(|item| item.label < Some(5));
    let (mut a, mut b) = (shuffled(a, 1), shuffled(b, 2));
    let again = a.split_off(4_000);
    b.truncate(2_000);
    archive.ends = vec![4_000, 6_000, 6_000 + again.len()];
    archive.stream = a.into_iter().chain(b).chain(again).collect();
    archive
}

fn recurring(data: &Path) -> Archive {
    const ROUNDS: usize = 10;
    let mut archive = cifar(data);
    let once = std::mem::take(&mut archive.stream);
    for round in 0..ROUNDS {
        for item in &once {
            let mut rng = random(item, round);
            let mirrored = rng::below(&mut rng, 2) == 1;
            let tile = cut_out(tile_of(item), 4, mirrored, &mut rng);
            archive.stream.push(like(item, round, tile));
        }
    }
    archive.ends = (1..=ROUNDS).map(|round| round * once.len()).collect();
    archive
}

fn steady(data: &Path) -> Archive {
    let mut archive = recurring(data);
    archive.stream = shuffled(archive.stream, 3);
    let before = archive.stream.len();
    let unlabelled = |item: Item| Item { label: None, ..item };
    archive
        .stream
        .extend(shuffled(omniglot(data).stream, 4).into_iter().map(unlabelled));
    archive.ends = vec![before, before + 192, archive.stream.len()];
    archive
}

fn omniglot(data: &Path) -> Archive {
    let folder = tempfile::tempdir().expect("a folder");
    let zip = std::fs::File::open(data.join("images/omniglot/images_background_small1.zip")).expect("Omniglot");
    let mut zip = zip::ZipArchive::new(zip).expect("a zip archive");
    let names = zip.file_names().map(|name| name.expect("a name").into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".png")).collect();
    names.sort();
    let mut manifest = csv::Writer::from_path(folder.path().join("manifest.csv")).expect("a manifest");
    manifest
        .write_record(["path", "alphabet", "character"])
        .expect("a line");
    for (number, name) in names.iter().enumerate() {
        let mut bytes = Vec::new();
        zip.by_name(name)
            .expect("a member")
            .read_to_end(&mut bytes)
            .expect("its bytes");
        let file = format!("{number}.png");
        std::fs::write(folder.path().join(&file), bytes).expect("a file");
        let parts: Vec<&str> = name.split('/').collect();
        let [.., alphabet, character, _] = parts[..] else {
            panic!("{name}: no character of an alphabet");
        };
        let character = format!("{alphabet}/{character}");
        manifest
            .write_record([file.as_str(), alphabet, &character])
            .expect("a line");
    }
    manifest.flush().expect("the manifest");
    let manifest = folder.path().join("manifest.csv");
    open(
        folder.path(),
        &manifest,
        "character",
        Cut::Column("alphabet".to_owned()),
    )
}

fn trash(data: &Path) -> Archive {
    let mut archive = photos(data, &["trash"], "class");
    // So few are told apart by chance: half of them ask.
    let (mut stream, mut ends) = (Vec::new(), Vec::new());
    let mut start = 0;
    for end in archive.ends {
        for (number, item) in archive.stream[start..end].iter().enumerate() {
            let part = if number % 2 == 0 {
                &mut archive.asks
            } else {
                &mut stream
            };
            part.push(item.clone());
        }
        start = end;
        ends.push(stream.len());
    }
    (archive.stream, archive.ends) = (stream, ends);
    archive
}

fn domains(data: &Path) -> Archive {
    let photos = photos(data, &["microscope", "trash"], "set");
    let mut all = Archive::default();
    for part in [every(cifar(data), 10, 2), omniglot(data), photos] {
        let (labels, arrived) = (all.labels.len(), all.stream.len());
        let moved = |item: Item| Item {
            label: item.label.map(|label| label + labels),
            ..item
        };
        all.labels.extend(part.labels);
        all.stream.extend(part.stream.into_iter().map(moved));
        all.asks.extend(part.asks.into_iter().map(moved));
        all.ends.extend(part.ends.into_iter().map(|end| arrived + end));
    }
    // Each source is one experience: classes and alphabets within it are not.
    let photos_from = all.ends.len() - 2;
    all.ends = vec![
        all.ends[4],
        all.ends[photos_from - 1],
        all.ends[photos_from],
        all.stream.len(),
    ];
    all
}

/// Photos of these sets, one set after the other; the class is the label.
fn photos(data: &Path, sets: &[&str], experiences: &str) -> Archive {
    let folder = data.join("images/photos");
    let mut reader = csv::Reader::from_path(folder.join("manifest.csv")).expect("the photos' manifest");
    let head = reader.headers().expect("its head").clone();
    let at = |title: &str| head.iter().position(|column| column == title).expect("a column");
    let (path, set, class) = (at("path"), at("set"), at("class"));
    let lines: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("its lines");
    let manifest = tempfile::NamedTempFile::new().expect("a file");
    let mut writer = csv::Writer::from_path(manifest.path()).expect("a manifest");
    writer.write_record(["path", "set", "class"]).expect("a line");
    for wanted in sets {
        for line in lines.iter().filter(|line| &line[set] == *wanted) {
            writer
                .write_record([&line[path], wanted, &line[class]])
                .expect("a line");
        }
    }
    writer.flush().expect("the manifest");
    let experiences = Cut::Column(experiences.to_owned());
    open(&folder, manifest.path(), "class", experiences)
}

fn open(data: &Path, manifest: &Path, labels: &str, experiences: Cut) -> Archive {
    let archive = Archive::open(&ArchiveSetup {
        data: data.to_owned(),
        manifest: manifest.to_owned(),
        labels: labels.to_owned(),
        experiences,
        only: Vec::new(),
        cutting: Cutting::Pictures {
            limits: ImageLimits {
                pixels_max: 100_000_000,
                side_px_max: 20_000,
            },
            image_px: PX,
        },
    });
    archive.unwrap_or_else(|error| panic!("{}: {error}", data.display()))
}

/// `keep` of every `of` pictures of the stream; all experiences must be equally long.
fn every(mut archive: Archive, of: usize, keep: usize) -> Archive {
    let mut number = 0;
    archive.stream.retain(|_| {
        number += 1;
        (number - 1) % of < keep
    });
    archive.ends.iter_mut().for_each(|end| *end = *end / of * keep);
    archive
}

fn random(item: &Item, number: usize) -> Rng {
    let seed = u64::from_le_bytes(item.hash.0[..8].try_into().expect("eight bytes"));
    rng::for_step(seed, number as u64, 0)
}

/// Another file with this picture; the exam holds out the same share of them as of any.
fn like(item: &Item, number: usize, tile: ImageTile) -> Item {
    let name = format!("{}#{number}", item.path);
    Item {
        hash: SourceHash::of(name.as_bytes()),
        path: name,
        content: Content::Image(tile),
        ..item.clone()
    }
}

/// The picture moved by up to `by` pixels each way, its edge repeated, and perhaps mirrored.
fn cut_out(tile: &ImageTile, by: usize, mirrored: bool, rng: &mut Rng) -> ImageTile {
    let (width, height) = (usize::from(tile.width), usize::from(tile.height));
    let (right, down) = (rng::below(rng, 2 * by + 1), rng::below(rng, 2 * by + 1));
    let mut rgb = Vec::with_capacity(tile.rgb.len());
    for y in 0..height {
        let from_y = (y + down).saturating_sub(by).min(height - 1);
        for x in 0..width {
            let x = if mirrored { width - 1 - x } else { x };
            let from_x = (x + right).saturating_sub(by).min(width - 1);
            let at = (from_y * width + from_x) * 3;
            rgb.extend_from_slice(&tile.rgb[at..at + 3]);
        }
    }
    ImageTile { rgb, ..tile.clone() }
}

/// A little brighter or darker, with the grain of another photo of the same scene.
fn jittered(tile: &ImageTile, rng: &mut Rng) -> ImageTile {
    let brighter = rng::below(rng, 21) as i32 - 10;
    let grainy = |value: &u8| (i32::from(*value) + brighter + rng::below(rng, 7) as i32 - 3).clamp(0, 255) as u8;
    ImageTile {
        rgb: tile.rgb.iter().map(grainy).collect(),
        ..tile.clone()
    }
}

fn shuffled(mut items: Vec<Item>, seed: u64) -> Vec<Item> {
    let mut rng = rng::for_step(seed, 0, 0);
    for at in (1..items.len()).rev() {
        items.swap(at, rng::below(&mut rng, at + 1));
    }
    items
}

/// A picture's pixels.
fn tile_of(item: &Item) -> &ImageTile {
    match &item.content {
        Content::Image(tile) => tile,
        other => panic!("{other:?} is no picture"),
    }
}
