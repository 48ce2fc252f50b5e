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
pub mod inpaint;
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

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use failure::Failure;

use crate::client::{Client, DEFAULT_URL};

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
    /// A sample, and why it is replayed as often as it is
    Sample(sample::SampleArgs),
    /// The published models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// The files that could not be taken, and why
    Quarantine(quarantine::QuarantineArgs),
    /// A script that completes commands in your shell
    Completions(shell::CompletionsArgs),
    /// The manual
    Man(shell::ManArgs),
}

/// Which daemon.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Where the daemon listens
    #[arg(long, env = "CURIOD_URL", default_value = DEFAULT_URL, value_name = "URL")]
    url: String,
}

impl Connection {
    /// A client of that daemon.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.url)?)
    }
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
        Command::Sample(args) => sample::sample(&args),
        Command::Models(command) => models::models(&command),
        Command::Quarantine(args) => quarantine::quarantine(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
