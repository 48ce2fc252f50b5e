//! The command `curiod`: makes sure that libtorch can be loaded, then becomes `curiod-engine`, which is linked to it.
//! Always true: this file uses nothing of the library. A program that is linked to a library that is absent ends in the
//! dynamic loader, before it could say where to look.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const ENGINE: &str = "curiod-engine";

/// What went wrong, and what to do.
struct Failure {
    error: String,
    hint: &'static str,
}

fn main() -> ExitCode {
    let Failure { error, hint } = become_engine();
    eprintln!("error: {error}\nhint: {hint}");
    ExitCode::FAILURE
}

/// Comes back only when it failed.
fn become_engine() -> Failure {
    let engine = match find_engine() {
        Ok(engine) => engine,
        Err(failure) => return failure,
    };
    let missing = missing_libraries(&engine);
    if !missing.is_empty() {
        return Failure {
            error: format!(
                "{} needs {}, which no folder of the loader has",
                engine.display(),
                missing.join(", ")
            ),
            hint: "libtorch is gone or elsewhere: install curiod again, run scripts/libtorch.sh where it was built, or \
                   name the folder with these files in LD_LIBRARY_PATH",
        };
    }
    let error = Command::new(&engine)
        .arg0("curiod")
        .args(std::env::args_os().skip(1))
        .exec();
    Failure {
        error: format!("failed to start {}: {error}", engine.display()),
        hint: "install curiod again, or run make build where it was built",
    }
}

/// The engine lies beside this program where it was built, and in `../lib/curiod` where it was installed.
fn find_engine() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure {
        error: format!("failed to find this program's own folder: {error}"),
        hint: "is /proc mounted?",
    })?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let places = [folder.join(ENGINE), folder.join("../lib/curiod").join(ENGINE)];
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let [beside, installed] = places.map(|place| place.display().to_string());
        Failure {
            error: format!("{ENGINE} is neither {beside} nor {installed}"),
            hint: "install curiod again, or run make build where it was built",
        }
    })
}

/// What the dynamic loader does not find, as it says itself when it is asked to list what it would load.
fn missing_libraries(engine: &Path) -> Vec<String> {
    let listed = Command::new(engine).env("LD_TRACE_LOADED_OBJECTS", "1").output();
    // A loader that lists nothing leaves the word to the engine's own start.
    let listed = listed.map(|listed| listed.stdout).unwrap_or_default();
    String::from_utf8_lossy(&listed)
        .lines()
        .filter_map(|line| line.trim().strip_suffix(" => not found"))
        .map(str::to_owned)
        .collect()
}
