//! The command line: one binary, one file a family of commands.
//! Invariant: exit codes are 0 ok, 1 failed, 2 usage, 69 daemon unreachable, 78 bad configuration.

pub mod backtest;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod export;
pub mod failure;
pub mod fill;
pub mod heads;
pub mod inpaint;
pub mod keys;
pub mod label_queue;
pub mod labels;
pub mod labels_file;
pub mod models;
pub mod output;
pub mod over_time;
pub mod quarantine;
pub mod query;
pub mod replay;
pub mod run;
pub mod sample;
pub mod shell;
pub mod status;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

use crate::access::read_secret;
use crate::client::{Client, DEFAULT_URL};
use crate::socket::{SOCKET_NAME, SocketPath};

/// Drop unlabeled data into a folder; query a model that never stops learning from it.
#[derive(Parser, Clone, Debug)]
#[command(name = "curiod", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What curiod can be told to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Run the daemon
    Run(run::RunArgs),
    /// Watch a daemon learn from photos, and ask it about them
    Demo(demo::DemoArgs),
    /// Play an archive with labels as a stream, under several settings, and compare what was learnt
    Backtest(Box<backtest::BacktestArgs>),
    /// Is this machine ready?
    Doctor(daemon::DoctorArgs),
    /// Check a configuration file
    CheckConfig(config::CheckArgs),
    /// The configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The replay buffers of a stopped daemon
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// How the daemon is doing; exits with 1 where a part of it has failed
    Status(status::StatusArgs),
    /// Its streams
    Streams(status::StreamsArgs),
    /// Embeddings of pictures, texts, series or transitions
    Embed(query::EmbedArgs),
    /// The samples most like a picture, a text, a series or a transition
    Search(query::SearchArgs),
    /// How new something is, which samples are the most novel, or how new each step of a series is
    Novelty(query::NoveltyArgs),
    /// How curious each transition of a file makes: intrinsic reward and error of the forecast
    Curiosity(over_time::CuriosityArgs),
    /// Have the middle of a picture painted by a model of the objective `inpaint`
    Inpaint(inpaint::InpaintArgs),
    /// Have the words guessed that a text hides behind `[MASK]`
    Fill(fill::FillArgs),
    /// The labels that you give
    #[command(subcommand)]
    Labels(labels::LabelsCommand),
    /// The classifiers that are fitted from them
    #[command(subcommand)]
    Heads(heads::HeadsCommand),
    /// The classes of files, texts or samples, by a classifier
    Classify(heads::ClassifyArgs),
    /// Which samples to label next
    LabelQueue(label_queue::LabelQueueArgs),
    /// A sample, and why it is replayed as often as it is
    Sample(sample::SampleArgs),
    /// The published models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// The files that could not be taken, and why
    Quarantine(quarantine::QuarantineArgs),
    /// Access keys: who may ask the daemon what
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// A script that completes commands in your shell
    Completions(shell::CompletionsArgs),
    /// The manual
    Man(shell::ManArgs),
}

/// Which daemon, and with which right.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Where the daemon is: http://HOST:PORT, https://HOST:PORT, or unix:PATH of its socket [default: a socket of this machine that
    /// answers, else http://127.0.0.1:8642]
    #[arg(long, env = "CURIOD_URL", value_name = "URL")]
    url: Option<String>,
    /// A file that holds the key to ask with, readable for its owner alone
    #[arg(long, env = "CURIOD_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Certificates (PEM) to trust, for https [default: the system's]
    #[arg(long, env = "CURIOD_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Connection {
    /// A client of that daemon.
    pub fn client(&self) -> Result<Client, Failure> {
        let key = self.key_file.as_deref().map(read_secret).transpose()?;
        let url = self.url.clone().unwrap_or_else(nearest_url);
        Ok(Client::with(&url, self.ca.as_deref(), key)?)
    }
}

/// The socket of this user's own daemon, or of the machine's service, if it answers; else the usual address.
fn nearest_url() -> String {
    let own = run::default_state_dir();
    let folders = own
        .into_iter()
        .chain(["/run/curiod", "/var/lib/curiod"].map(PathBuf::from));
    let mut sockets = folders.map(|folder| folder.join(SOCKET_NAME));
    let found = sockets.find(|path| {
        let reached = SocketPath::to(path);
        reached.is_ok_and(|path| UnixStream::connect(path.as_path()).is_ok())
    });
    found.map_or(DEFAULT_URL.to_owned(), |path| format!("unix:{}", path.display()))
}

/// For whom to write.
#[derive(Args, Clone, Copy, Debug)]
pub struct Format {
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command that the command line names; what it fails with is told on stderr.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => daemon::run(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Backtest(args) => backtest::backtest(&args),
        Command::Doctor(args) => daemon::doctor(&args),
        Command::CheckConfig(args) => daemon::check_config(&args),
        Command::Config(command) => daemon::config(&command),
        Command::Replay(command) => replay::replay(&command),
        Command::Status(args) => status::status(&args),
        Command::Streams(args) => status::streams(&args),
        Command::Embed(args) => query::embed(&args),
        Command::Search(args) => query::search(&args),
        Command::Novelty(args) => query::novelty(&args),
        Command::Curiosity(args) => over_time::curiosity(&args),
        Command::Inpaint(args) => inpaint::inpaint(&args),
        Command::Fill(args) => fill::fill(&args),
        Command::Labels(command) => labels::labels(&command),
        Command::Heads(command) => heads::heads(&command),
        Command::Classify(args) => heads::classify(&args),
        Command::LabelQueue(args) => label_queue::label_queue(&args),
        Command::Sample(args) => sample::sample(&args),
        Command::Models(command) => models::models(&command),
        Command::Quarantine(args) => quarantine::quarantine(&args),
        Command::Keys(command) => keys::keys(&command),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
