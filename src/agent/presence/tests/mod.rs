//! Whole agents of contacts, in virtual time.

mod anchors;
mod bad_input;
mod clocks;
mod compressed;
mod histories;
mod kernel;
mod moving;
mod office;
mod refusals;
mod reloading;
mod settings;
mod single;
mod switching;
mod translated;
mod tunnelled;
mod world;
