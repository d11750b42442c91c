//! What lies below an output: a file here for each kind of file there, which alone knows its format. Their names are in
//! [`fruitjob_interface::layout`].

pub mod entry;
pub mod features;
pub(crate) mod lock;
pub mod manifest;
pub(crate) mod moments;
pub(crate) mod partition;
pub mod pcas;
pub(crate) mod published;
pub(crate) mod record;
pub(crate) mod rejects;
pub(crate) mod results;
