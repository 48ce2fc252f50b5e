//! Sentences about the other protocols: each gives the native vectors, within the native bounds, in its own words.

mod limits;
mod oip;
mod openai;
mod tei;
mod world;
