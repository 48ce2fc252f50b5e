//! curiod, a lifelong-learning daemon.
pub mod clock;
pub mod config;
pub mod ids;
pub mod limits;
pub mod rng;
pub mod sample;
