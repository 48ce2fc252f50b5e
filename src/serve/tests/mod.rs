//! Sentences about serving, over real sockets, a real buffer and a real registry.

mod bounds;
mod encoder;
mod generations;
mod queries;
mod site;
mod surfaces;
