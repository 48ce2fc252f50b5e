//! Sentences about the daemon: each test runs the real binary on real files and looks at the world.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can not go on fails where it is"
)]

mod administrator;
mod architecture;
mod backtest;
mod bad_input;
mod clients;
mod damage;
mod faults;
mod harness;
mod kept_data;
mod kills;
mod labels;
mod main_job;
mod models;
mod odd_files;
mod python;
mod refusals;
mod resources;
mod security;
mod series;
mod signals;
mod texts;
mod transitions;
mod watchdog;
mod world;
