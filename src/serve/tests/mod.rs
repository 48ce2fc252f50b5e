//! Sentences about serving, over real sockets, a real buffer and a real registry.

mod bounds;
mod encoder;
mod narrowed;
mod queries;
mod site;
mod surfaces;
