//! Sentences about serving, over real sockets, a real buffer and a real registry.

mod access;
mod bounds;
mod encoder;
mod finetune;
mod generations;
mod labels;
mod narrowed;
mod queries;
mod site;
mod standing;
mod surfaces;
