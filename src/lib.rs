//! curiod, a lifelong-learning daemon.
pub mod clock;
pub mod config;
pub mod curiosity;
pub mod durable;
pub mod gate;
pub mod ids;
pub mod ingest;
pub mod learn;
pub mod limits;
pub mod model;
pub mod registry;
pub mod replay;
pub mod rng;
pub mod sample;
pub mod serve;
pub mod status;
pub mod torch;
