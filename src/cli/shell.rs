//! `curiod completions` and `curiod man`: what a package installs beside the binary.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;
use super::failure::Failure;
use super::output::print;

/// The flags of `curiod completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// The flags of `curiod man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write a page for every command into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `curiod completions`.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "curiod", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// `curiod man`.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let command = Cli::command();
    let failed = |error: std::io::Error| Failure::new(Failure::FAILED, format!("failed to write the manual: {error}"));
    if let Some(dir) = &args.dir {
        return std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .map_err(|error| {
                Failure::new(
                    Failure::FAILED,
                    format!("failed to write to {}: {error}", dir.display()),
                )
            });
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
    print(&String::from_utf8_lossy(&page))
}
