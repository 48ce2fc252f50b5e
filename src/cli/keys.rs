//! `curiod keys`: the file of the access keys, which the daemon reads at its start and at each reload.
//! Always true: a key is printed once, when it is made, and never taken from the command line.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::Format;
use super::failure::Failure;
use super::output::{print, print_json, table};
use crate::access::{self, Key, KeyError, KeyName, Scopes, Secret, read_keys};

/// What to do with keys.
#[derive(Subcommand, Clone, Debug)]
pub enum KeysCommand {
    /// Make a key. With --file its line is added there and the key printed; without, the line is printed, and the key told on stderr
    New(NewArgs),
    /// The keys of a file: names and scopes
    List(ListArgs),
    /// Take a key out of a file. The daemon refuses it from its next reload on
    Revoke(RevokeArgs),
}

/// The flags of `curiod keys new`.
#[derive(Args, Clone, Debug)]
pub struct NewArgs {
    /// What the key is called in logs: 1 to 64 of a-z, 0-9, _ and -
    #[arg(long, value_name = "NAME")]
    name: KeyName,
    /// What it is for: some of read, label, metrics, or admin, which allows everything
    #[arg(long, value_name = "SCOPES")]
    scope: Scopes,
    /// The file of the daemon's keys (server.keys_file); made where there is none
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The flags of `curiod keys list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// The file of the daemon's keys
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// The flags of `curiod keys revoke`.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    /// The key's name
    #[arg(long, value_name = "NAME")]
    name: KeyName,
    /// The file of the daemon's keys
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

/// `curiod keys`.
pub fn keys(command: &KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::New(args) => new(args),
        KeysCommand::List(args) => list(&args.file, args.format),
        KeysCommand::Revoke(args) => {
            access::revoke(&args.file, &args.name)?;
            eprintln!("{} is out of {}; {RELOAD}", args.name, args.file.display());
            Ok(())
        }
    }
}

/// What makes the daemon see a change.
const RELOAD: &str = "the daemon reads the file again at SIGHUP (systemctl reload curiod)";

fn new(args: &NewArgs) -> Result<(), Failure> {
    let secret = Secret::new().map_err(|error| {
        Failure::new(Failure::FAILED, format!("the system gives no random numbers: {error}"))
            .hint("look at the system's log")
    })?;
    let key = Key::of(args.name.clone(), args.scope.clone(), &secret);
    match &args.file {
        Some(file) => {
            access::add(file, &key).map_err(|error| match error {
                access::AccessError::Line {
                    source: KeyError::Twice,
                    ..
                } => Failure::new(
                    Failure::FAILED,
                    format!("{} has a key called {}", file.display(), args.name),
                )
                .hint("take another name, or revoke that one first"),
                error => error.into(),
            })?;
            eprintln!(
                "{} is in {}; {RELOAD}. The key, which is kept nowhere:",
                args.name,
                file.display()
            );
            print(&format!("{}\n", secret.reveal()))
        }
        None => {
            print(&format!("{key}\n"))?;
            eprintln!("The key, which is kept nowhere: {}", secret.reveal());
            eprintln!("Its line, above, belongs into the file that server.keys_file names; {RELOAD}");
            Ok(())
        }
    }
}

fn list(file: &Path, format: Format) -> Result<(), Failure> {
    let keys = read_keys(file)?;
    if format.json {
        let all = keys.iter().map(|key| {
            let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
            json!({ "name": key.name.to_string(), "scopes": scopes })
        });
        return print_json(&all.collect::<Vec<_>>());
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| [key.name.to_string(), key.scopes.to_string()])
        .collect();
    print(&table(["name", "scopes"], &rows))
}
