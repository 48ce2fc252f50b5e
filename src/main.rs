//! The binary: everything is in the library.

fn main() -> std::process::ExitCode {
    curiod::cli::main()
}
