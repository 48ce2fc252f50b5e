//! Compiles the shim over libtorch's C++ against the headers that torch-sys uses, and tells the linker where
//! libtorch is: in the build's own libtorch, and beside an installed package.

use std::path::Path;

const SHIM: &str = "src/torch/shim.cpp";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={SHIM}");
    // Set by cargo-fuzz for what it builds.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB").unwrap_or_else(|_| {
        eprintln!("error: torch-sys named no libtorch");
        eprintln!("hint: run scripts/libtorch.sh, which sets up .libtorch, and build again");
        std::process::exit(1);
    });
    let headers = Path::new(&libtorch).join("../include");
    // libtorch's headers are `-isystem`: their warnings are not ours to mend.
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file(SHIM)
        .flag("-isystem")
        .flag(headers.to_string_lossy().as_ref())
        .flag("-isystem")
        .flag(headers.join("torch/csrc/api/include").to_string_lossy().as_ref())
        .flag("-Wall")
        .flag("-Wextra")
        .compile("curiod_shim");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN");
}
