//! One file a resource: what it should be (`Spec`), `observe`, `diff`, `apply` and `destroy`.

pub mod bootstrap;
pub mod bucket;
pub mod cluster;
mod door;
pub mod key_pair;
pub mod network;
pub mod places;
pub mod roles;
pub mod security_configuration;
