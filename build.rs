//! Tells the linker where libtorch is: in the build's own libtorch, and beside an installed package.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB").unwrap_or_else(|_| {
        eprintln!("error: torch-sys named no libtorch");
        eprintln!("hint: run scripts/libtorch.sh, which sets up .libtorch, and build again");
        std::process::exit(1);
    });
    println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/curiod");
}
