//! `curiod backtest`: what would curiod have learnt from this archive, under which settings?

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use clap::Args;

use super::Format;
use super::failure::Failure;
use super::output::{print, print_json, table};
use crate::backtest::{
    self, Archive, ArchiveSetup, Arm, BacktestError, BacktestSetup, Cut, DEFAULT_ARMS, PlaySetup, Report, metrics,
};
use crate::config::{self, Config};
use crate::model::EncoderSpec;
use crate::sample::Modality;
use crate::torch;

/// The flags of `curiod backtest`.
#[derive(Args, Clone, Debug)]
pub struct BacktestArgs {
    /// The files: a folder, or an uncompressed tar archive; not read where JSON lines hold the texts
    #[arg(long, value_name = "DIR|TAR")]
    data: PathBuf,
    /// A CSV file with a line for each picture, in the order of the stream: its `path`, its label (empty: it arrives and is
    /// not scored), and if it has them `split` (test or val: asked, never learnt) and `order`
    #[arg(long, value_name = "CSV")]
    order: PathBuf,
    /// The column with the labels, which score what was learnt
    #[arg(long, value_name = "COLUMN")]
    labels: String,
    /// What is compared: random, pixels, iid, naive, fifo, reservoir, minred, curiod, and NAME=KEY=VALUE for curiod with
    /// another setting, such as uniform=replay.sampler=uniform (several settings: one --arms each)
    #[arg(long, value_name = "ARM,...", value_delimiter = ',', default_values = DEFAULT_ARMS)]
    arms: Vec<String>,
    /// An arm of your own with several settings: NAME=KEY=VALUE,KEY=VALUE. May be given several times
    #[arg(long, value_name = "ARM")]
    arm: Vec<String>,
    /// Times each arm is played, with seeds 0, 1, ...
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Steps of each arm [default: as many as replay.draws_per_sample allows]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Samples that the buffer may hold
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    buffer: usize,
    /// The stream's experiences: a number of equal parts, or the column whose changes part them
    #[arg(long, value_name = "N|COLUMN", default_value = "5")]
    experiences: String,
    /// Pictures that arrive between two turns of the learner
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    together: u64,
    /// Times that the model is scored in each experience
    #[arg(long, value_name = "N", default_value_t = 1)]
    scored: usize,
    /// Pictures of the stream that are known when it is scored
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    known: usize,
    /// Only lines of the manifest whose COLUMN is VALUE. May be given several times
    #[arg(long, value_name = "COLUMN=VALUE")]
    only: Vec<String>,
    /// The daemon's configuration; its first stream's settings, or those of --stream, are what `curiod` stands for
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The kind of data, where there is no configuration: image, text, series or transition [default: image]
    #[arg(long, value_name = "MODALITY", conflicts_with = "config", value_parser = modality)]
    modality: Option<Modality>,
    /// The stream of the configuration
    #[arg(long, value_name = "STREAM", requires = "config")]
    stream: Option<String>,
    /// A setting for all arms, such as learning.image_px=48. May be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A folder for accuracy.svg, buffer.svg and report.json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where buffers are kept meanwhile [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl From<BacktestError> for Failure {
    fn from(error: BacktestError) -> Self {
        let hint = error.hint().to_owned();
        Self::new(Self::FAILED, error).hint(hint)
    }
}

/// `curiod backtest`.
pub fn backtest(args: &BacktestArgs) -> Result<(), Failure> {
    let config = match &args.config {
        Some(file) => config::compose(file, config::environment())?,
        None => super::run::bare(
            &std::env::temp_dir(),
            "backtest",
            args.modality.unwrap_or(Modality::Image),
        )?,
    };
    let mut stream = stream(&config, args.stream.as_deref())?;
    for setting in &args.set {
        stream = stream.with(setting)?;
    }
    let device = torch::prepare(&config.device)?;
    let spec = EncoderSpec::resolve(stream.modality, &stream.learning, device)
        .map_err(|error| Failure::new(Failure::FAILED, error))?;
    let texts = args.arms.iter().chain(&args.arm);
    let arms = texts
        .map(|text| Arm::parse(text, &stream, args.buffer))
        .collect::<Result<Vec<_>, _>>()?;
    let archive = Archive::open(&ArchiveSetup {
        data: args.data.clone(),
        manifest: args.order.clone(),
        labels: args.labels.clone(),
        experiences: match args.experiences.parse() {
            Ok(parts) => Cut::Parts(parts),
            Err(_) => Cut::Column(args.experiences.clone()),
        },
        only: args.only.iter().map(|text| pair(text)).collect::<Result<_, _>>()?,
        cutting: stream.cutting(spec.image_px()),
    })?;
    for (path, why) in archive.passed_over.iter().take(5) {
        eprintln!("passed over {path}: {why}");
    }
    let draws = stream.replay.draws_per_sample * archive.stream.len() as f64;
    let steps = args
        .steps
        .unwrap_or((draws / spec.batch(&stream.learning) as f64) as u64);
    if steps == 0 {
        return Err(Failure::new(Failure::USAGE, "no step would be taken").hint("give --steps"));
    }
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = scratch.join(format!("curiod-backtest-{}", std::process::id()));
    let setup = BacktestSetup {
        arms,
        seeds: args.seeds,
        play: PlaySetup {
            steps,
            arrive_together: args.together as usize,
            scored_an_experience: args.scored,
            device,
            threads: config.threads.learn(),
        },
        known_max: args.known,
        scratch: scratch.clone(),
    };
    let watched = stderr().is_terminal() || !args.format.json;
    let report = backtest::run(&archive, &setup, |arm, seed, moment| {
        if watched {
            eprintln!(
                "{arm}, seed {seed}: {} pictures, {} steps, {:.0} s: neighbours {:.1} %, probe {:.1} %",
                moment.arrived,
                moment.step,
                moment.spent.as_secs_f64(),
                100.0 * moment.measured.knn.all,
                100.0 * moment.measured.linear.all,
            );
        }
    });
    // What a failed arm left, too; an empty folder that can not be removed harms nobody.
    let _ = std::fs::remove_dir_all(&scratch);
    let report = report?;
    if let Some(folder) = &args.out {
        report.plot(folder)?;
        let text = serde_json::to_vec_pretty(&report).map_err(|error| Failure::new(Failure::FAILED, error))?;
        let path = folder.join("report.json");
        std::fs::write(&path, text)
            .map_err(|error| Failure::new(Failure::FAILED, format!("failed to write {}: {error}", path.display())))?;
    }
    if args.format.json {
        print_json(&report)
    } else {
        print(&shown(&report))
    }
}

fn stream(config: &Config, name: Option<&str>) -> Result<config::StreamConfig, Failure> {
    let found = match name {
        Some(name) => config.streams.iter().find(|stream| stream.name.as_str() == name),
        None => config.streams.first(),
    };
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = config.streams.iter().map(|stream| stream.name.as_str()).collect();
        Failure::new(Failure::USAGE, "the configuration has no such stream")
            .hint(format!("it has {}", names.join(", ")))
    })
}

fn modality(text: &str) -> Result<Modality, String> {
    serde_json::from_value(text.into()).map_err(|_| "it is image, text, series or transition".to_owned())
}

fn pair(text: &str) -> Result<(String, String), Failure> {
    let (column, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::new(Failure::USAGE, format!("`{text}` is not COLUMN=VALUE")))?;
    Ok((column.to_owned(), value.to_owned()))
}

/// The report for people.
fn shown(report: &Report) -> String {
    let percent = |spread: &metrics::Spread| match spread.values.len() {
        _ if spread.mean.is_nan() => "-".to_owned(),
        1 => format!("{:.1}", 100.0 * spread.mean),
        _ => format!("{:.1} ± {:.1}", 100.0 * spread.mean, 100.0 * spread.std),
    };
    let share = |spread: &Option<metrics::Spread>| match spread {
        Some(spread) if !spread.mean.is_nan() => format!("{:.2} ± {:.2}", spread.mean, spread.std),
        _ => "-".to_owned(),
    };
    let against_iid = |spread: &Option<metrics::Spread>| match spread {
        Some(spread) if spread.values.len() > 1 => {
            format!("{:+.1} ± {:.1}", 100.0 * spread.mean, 100.0 * spread.half_width())
        }
        Some(spread) => format!("{:+.1}", 100.0 * spread.mean),
        None => "-".to_owned(),
    };
    let rows: Vec<[String; 11]> = report
        .in_order()
        .map(|(name, arm)| {
            [
                name.to_owned(),
                percent(&arm.knn_final),
                percent(&arm.linear_final),
                percent(&arm.knn_average),
                arm.told_final.as_ref().map_or_else(|| "-".to_owned(), percent),
                percent(&arm.forgetting_max_last),
                percent(&arm.forgetting_first_last),
                share(&arm.retained),
                against_iid(&arm.knn_less_iid),
                format!("{:.0}", arm.steps.mean),
                format!("{:.0}", arm.seconds.mean),
            ]
        })
        .collect();
    let head = [
        "arm",
        ">neighbours",
        ">probe",
        ">on average",
        ">told",
        ">forgot (best)",
        ">forgot (first)",
        ">R",
        ">less iid",
        ">steps",
        ">seconds",
    ];
    let stream = &report.stream;
    format!(
        "{}\n{} pictures, {} asked, {} labels, {} experiences; {} seed(s): mean ± standard deviation, in %; `told`: how \
         much is told of what is hidden of a sample; `less iid`: 95 % interval of the paired difference.\n",
        table(head, &rows),
        stream.pictures,
        stream.asked,
        stream.labels,
        stream.experiences,
        stream.seeds
    )
}
