//! `curiod demo`: a real daemon learns from real photos, photo after photo, while one watches.
//! Everything shown is read from the daemon's public API; which photo a crop is of is never told to it.

mod crops;
mod retrieval;
mod view;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::config::LearningConfig;
use crate::model::{Embedder, EncoderSpec, ImageSpec};
use crate::rng;
use crate::sample::image::eval_view;
use crate::sample::{Content, ImageTile};
use crops::Photo;
use retrieval::{Labelled, recall_at_1};
use view::View;

/// Photos that are cut, at most.
const PHOTOS_MAX: usize = 400;
/// Pictures dropped in all, about.
const PICTURES: usize = 4_000;
/// Dropped crops of each photo that are asked about, and held-out crops that ask.
const GALLERY_A_PHOTO: usize = 30;
const QUERIES_A_PHOTO: usize = 15;
/// The share of the time in which photos arrive; in the rest the daemon goes on learning from what it has.
const ARRIVAL_SHARE: f64 = 0.6;
/// How long a daemon may take to answer, and to stop.
const DAEMON_PATIENCE: Duration = Duration::from_secs(30);

/// What to show, and for how long.
pub struct DemoSetup {
    /// A folder of photos.
    pub pictures: PathBuf,
    /// How long to learn.
    pub duration: Duration,
    /// Leave the daemon running.
    pub keep: bool,
    /// Seed of the crops and of the learner.
    pub seed: u64,
    /// Print the measurements as JSON at the end.
    pub json: bool,
}

/// Why a demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder has too few photos.
    #[error("{folder} has {found} usable photos; the demo needs at least 2 with sides of 100 pixels or more")]
    TooFewPhotos {
        /// The folder.
        folder: PathBuf,
        /// Photos found.
        found: usize,
    },
    /// A file could not be read or written, or the daemon not be started.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon ended, or published nothing.
    #[error("{0}")]
    Daemon(String),
    /// The random encoder could not be made.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.into();
    move |source| DemoError::Io { what, source }
}

/// A crop that the demo asks about, and the number of its photo.
struct Asked {
    crops: Vec<ImageTile>,
    photos: Vec<usize>,
}

/// Runs the demo.
pub fn run(setup: &DemoSetup) -> Result<(), DemoError> {
    let (photos, passed_over) = Photo::read_all(&setup.pictures, PHOTOS_MAX)
        .map_err(io_error(format!("failed to read {}", setup.pictures.display())))?;
    if photos.len() < 2 {
        return Err(DemoError::TooFewPhotos {
            folder: setup.pictures.clone(),
            found: photos.len(),
        });
    }
    let crops_a_photo = (PICTURES / photos.len()).clamp(8, 320);
    println!(
        "{} photos from {}{}, {crops_a_photo} crops of each. A quarter of every photo is kept back to ask about.",
        photos.len(),
        setup.pictures.display(),
        if passed_over == 0 {
            String::new()
        } else {
            format!(" ({passed_over} files passed over)")
        },
    );
    let folder = temporary_folder().map_err(io_error("failed to make a temporary folder"))?;
    let inbox = folder.join("inbox");
    fs::create_dir_all(&inbox).map_err(io_error(format!("failed to make {}", inbox.display())))?;
    let mut daemon = Daemon::start(&folder, setup.seed)?;
    println!(
        "daemon {} on {}, its files in {}\n",
        daemon.child.id(),
        daemon.url,
        folder.display()
    );

    let asked = learn(setup, &photos, crops_a_photo, &inbox, &mut daemon)?;
    let measured = ask(setup.seed, &photos, &asked, &daemon)?;
    if setup.json {
        println!("{measured}");
    }
    if setup.keep {
        println!(
            "\nThe daemon goes on. Try:\n  curiod status --url {0}\n  a browser on {0}\n  kill {1}",
            daemon.url,
            daemon.child.id()
        );
        daemon.keep = true;
    } else {
        daemon.stop()?;
        fs::remove_dir_all(&folder).map_err(io_error(format!("failed to remove {}", folder.display())))?;
    }
    Ok(())
}

/// Drops the photos' crops one photo after the other and shows what the daemon makes of them. Gives the dropped crops
/// that are asked about later.
fn learn(
    setup: &DemoSetup,
    photos: &[Photo],
    crops_a_photo: usize,
    inbox: &Path,
    daemon: &mut Daemon,
) -> Result<Asked, DemoError> {
    let start = Instant::now();
    let total = photos.len() * crops_a_photo;
    let mut view = View::new(total);
    let mut asked = Asked {
        crops: Vec::new(),
        photos: Vec::new(),
    };
    let mut dropped = 0;
    while start.elapsed() < setup.duration {
        let share = start.elapsed().as_secs_f64() / (setup.duration.as_secs_f64() * ARRIVAL_SHARE);
        let due = ((total as f64 * share) as usize).min(total);
        let mut rng = rng::for_step(setup.seed, dropped as u64, 0);
        while dropped < due {
            let (photo, number) = (dropped / crops_a_photo, dropped % crops_a_photo);
            let crop = photos[photo].crop(&mut rng);
            drop_picture(inbox, &photos[photo].name, number, &crop)?;
            if number < GALLERY_A_PHOTO {
                asked.crops.push(crop);
                asked.photos.push(photo);
            }
            dropped += 1;
        }
        daemon.check()?;
        let status = daemon.client.get("/api/v1/status")?;
        let arriving = (dropped < total).then(|| photos[dropped / crops_a_photo].name.as_str());
        view.show(
            &status["streams"][0],
            dropped,
            arriving,
            setup.duration.saturating_sub(start.elapsed()),
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    view.end();
    Ok(asked)
}

/// Writes a picture as a careful writer does: under another name first.
fn drop_picture(inbox: &Path, photo: &str, number: usize, crop: &ImageTile) -> Result<(), DemoError> {
    let folder = inbox.join(photo);
    let (part, path) = (
        folder.join(format!("{number:04}.part")),
        folder.join(format!("{number:04}.png")),
    );
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&part, crops::png(crop)?))
        .and_then(|()| fs::rename(&part, &path))
        .map_err(io_error(format!("failed to write {}", path.display())))
}

/// Asks the daemon: neighbours of a held-out crop, the most novel pictures, and how often a held-out crop finds its photo.
fn ask(seed: u64, photos: &[Photo], gallery: &Asked, daemon: &Daemon) -> Result<Value, DemoError> {
    let models = daemon.client.get("/api/v1/models")?;
    let models = models["models"].as_array().cloned().unwrap_or_default();
    let mut generations: Vec<u64> = models.iter().filter_map(|model| model["generation"].as_u64()).collect();
    generations.sort_unstable();
    let (Some(first), Some(last)) = (generations.first(), generations.last()) else {
        return Err(DemoError::Daemon(
            "the daemon published nothing in this time: give it longer with --minutes".to_owned(),
        ));
    };
    let mut rng = rng::for_step(seed, 0, 1);
    let mut queries = Asked {
        crops: Vec::new(),
        photos: Vec::new(),
    };
    for (number, photo) in photos.iter().enumerate() {
        for _ in 0..QUERIES_A_PHOTO {
            queries.crops.push(photo.held_out_crop(&mut rng));
            queries.photos.push(number);
        }
    }
    show_neighbours(daemon, photos, &queries)?;
    show_most_novel(daemon)?;

    println!(
        "\nWhich photo is this? A held-out crop finds its photo among {} others (recall at 1):",
        gallery.crops.len()
    );
    let mut measured = serde_json::Map::new();
    let mut tell = |name: &str, what: String, gallery: &Labelled, queries: &Labelled| {
        let recall = recall_at_1(gallery, queries);
        println!(
            "  {what:<34} {:5.1} %  {}",
            100.0 * recall,
            "#".repeat((recall * 40.0).round() as usize)
        );
        measured.insert(name.to_owned(), json!(recall));
    };
    let image = ImageSpec::resolve(&LearningConfig::default(), tch::Device::Cpu);
    let spec = EncoderSpec::Image(image);
    let pixels = |asked: &Asked| pixels(asked, image.image_px);
    tell(
        "raw_pixels",
        "raw pixels".to_owned(),
        &pixels(gallery),
        &pixels(&queries),
    );
    let random = Embedder::random(&spec, None, seed, tch::Device::Cpu)?;
    tell(
        "random",
        "a random encoder".to_owned(),
        &embedded(&random, gallery)?,
        &embedded(&random, &queries)?,
    );
    for (name, what, generation) in [("first", "first", first), ("last", "last", last)] {
        let through_daemon = |asked: &Asked| daemon.embed(asked, *generation);
        tell(
            name,
            format!("the {what} generation ({generation})"),
            &through_daemon(gallery)?,
            &through_daemon(&queries)?,
        );
    }
    Ok(Value::Object(measured))
}

/// Prints the nearest pictures of the first held-out crops.
fn show_neighbours(daemon: &Daemon, photos: &[Photo], queries: &Asked) -> Result<(), DemoError> {
    println!("Neighbours of pictures that the daemon has never seen:");
    for query in (0..queries.crops.len())
        .step_by((queries.crops.len() / 5).max(1))
        .take(5)
    {
        let answer = daemon.client.post(
            "/api/v1/search",
            &json!({ "image": encoded(&queries.crops[query])?, "k": 5 }),
        )?;
        let hits = answer["hits"].as_array().cloned().unwrap_or_default();
        let found: Vec<String> = hits
            .iter()
            .map(|hit| {
                format!(
                    "{} {:.2}",
                    hit["path"].as_str().unwrap_or("?"),
                    hit["score"].as_f64().unwrap_or(0.0)
                )
            })
            .collect();
        println!("  {:<18} -> {}", photos[queries.photos[query]].name, found.join(", "));
    }
    Ok(())
}

/// Prints the pictures that are least like the others.
fn show_most_novel(daemon: &Daemon) -> Result<(), DemoError> {
    let answer = daemon.client.post("/api/v1/novelty", &json!({ "top": 5 }))?;
    let novel: Vec<&str> = answer["results"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|result| result["path"].as_str())
        .collect();
    println!("\nThe most novel pictures: {}", novel.join(", "));
    Ok(())
}

/// The pixels of each crop at the encoder's size, less their mean: a baseline that has learnt nothing.
fn pixels(asked: &Asked, px: u32) -> Labelled {
    let mut vectors = Vec::new();
    for crop in &asked.crops {
        let view = eval_view(crop, px);
        let mean = view.rgb.iter().map(|&level| f32::from(level)).sum::<f32>() / view.rgb.len() as f32;
        vectors.extend(view.rgb.iter().map(|&level| f32::from(level) - mean));
    }
    Labelled {
        vectors,
        dim: (px * px * 3) as usize,
        photos: asked.photos.clone(),
    }
}

fn embedded(embedder: &Embedder, asked: &Asked) -> Result<Labelled, DemoError> {
    let mut vectors = Vec::new();
    for crops in asked.crops.chunks(64) {
        let crops: Vec<Content> = crops.iter().cloned().map(Content::Image).collect();
        vectors.extend(embedder.embed(&crops.iter().collect::<Vec<_>>())?);
    }
    Ok(Labelled {
        vectors,
        dim: embedder.dim(),
        photos: asked.photos.clone(),
    })
}

/// A crop as the API takes it.
fn encoded(crop: &ImageTile) -> Result<String, DemoError> {
    let png = crops::png(crop).map_err(io_error("failed to encode a crop"))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(png))
}

/// A folder of our own below the system's temporary one.
fn temporary_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("curiod-demo-{}", std::process::id()));
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// The daemon as a child. Stopped when dropped, unless it is to be kept.
struct Daemon {
    child: Child,
    client: Client,
    url: String,
    log: PathBuf,
    keep: bool,
}

impl Daemon {
    fn start(folder: &Path, seed: u64) -> Result<Self, DemoError> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(io_error("failed to find a free port"))?
            .port();
        let url = format!("http://127.0.0.1:{port}");
        let log = folder.join("log.jsonl");
        let log_file = fs::File::create(&log).map_err(io_error(format!("failed to make {}", log.display())))?;
        let binary = std::env::current_exe().map_err(io_error("failed to find this program"))?;
        let child = Command::new(binary)
            .args([
                "run",
                "--modality",
                "image",
                "--bind",
                &format!("127.0.0.1:{port}"),
                "--inbox",
            ])
            .arg(folder.join("inbox"))
            .arg("--state")
            .arg(folder.join("state"))
            .env("CURIOD__LEARNING__SEED", seed.to_string())
            // Its socket is its own, also where a service runs the demo.
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()
            .map_err(io_error("failed to start the daemon"))?;
        let mut daemon = Self {
            child,
            client: Client::new(&url)?,
            url,
            log,
            keep: false,
        };
        let start = Instant::now();
        while daemon.client.get("/livez").is_err() {
            daemon.check()?;
            if start.elapsed() > DAEMON_PATIENCE {
                return Err(DemoError::Daemon(format!(
                    "the daemon does not answer; its log is {}",
                    daemon.log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(daemon)
    }

    /// An error if the daemon has ended.
    fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(DemoError::Daemon(format!(
                "the daemon ended ({status}); its log is {}",
                self.log.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The crops' vectors in a generation's space.
    fn embed(&self, asked: &Asked, generation: u64) -> Result<Labelled, DemoError> {
        let (mut vectors, mut dim) = (Vec::new(), 0);
        for crops in asked.crops.chunks(128) {
            let images = crops.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
            let model = format!("pictures@{generation}");
            let answer = self
                .client
                .post("/api/v1/embed", &json!({ "model": model, "images": images }))?;
            dim = answer["dim"].as_u64().unwrap_or(0) as usize;
            let rows = answer["embeddings"].as_array().into_iter().flatten();
            vectors.extend(
                rows.flat_map(|row| row.as_array().into_iter().flatten())
                    .map(|x| x.as_f64().unwrap_or(0.0) as f32),
            );
        }
        Ok(Labelled {
            vectors,
            dim,
            photos: asked.photos.clone(),
        })
    }

    /// Asks the daemon to stop, and waits for it.
    fn stop(&mut self) -> Result<(), DemoError> {
        terminate(&self.child).map_err(io_error("failed to stop the daemon"))?;
        self.keep = true;
        let status = self.child.wait().map_err(io_error("failed to wait for the daemon"))?;
        if status.success() {
            Ok(())
        } else {
            Err(DemoError::Daemon(format!(
                "the daemon stopped badly ({status}); its log is {}",
                self.log.display()
            )))
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.keep {
            let _ = terminate(&self.child);
            let _ = self.child.wait();
        }
    }
}

fn terminate(child: &Child) -> io::Result<()> {
    let pid = rustix::process::Pid::from_child(child);
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
}
