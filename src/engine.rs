//! The program that `curiod` becomes: everything is in the library.

fn main() -> std::process::ExitCode {
    curiod::cli::main()
}
