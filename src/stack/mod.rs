//! Infrastructure as code: what `fruitctl.toml` says ([`Spec`]) against what exists ([`Observed`]) is a [`Plan`];
//! [`apply`] carries it out, [`destroy`] takes everything away.
//!
//! AWS is the state: names are functions of project, account and region, and all that can be tagged is tagged with
//! the project in the call that creates it. So whatever was killed where, the next `up` finds what there is and
//! makes what is missing, and the next `down` finds all of it. One file a resource below
//! [`resources`], its undo beside its do; a `diff` is pure, `observe`, `apply` and `destroy` talk to [`crate::aws`].

mod apply;
pub mod borrowed;
mod change;
mod destroy;
pub mod lock;
mod names;
mod observed;
pub mod operator_policy;
mod plan;
mod relaunch;
pub mod resources;
mod spec;
pub mod zones;

pub use apply::{Part, apply};
pub use change::{Action, Change, Resource};
pub use destroy::{Inventory, destroy, inventory};
pub use names::{DEADLINE, Names, OWNER, PROJECT, RUN};
pub use plan::Plan;
pub use relaunch::{Again, FailedLaunch, Relaunches};
pub use resources::places::{Place, Use};
pub use resources::{bootstrap, bucket, cluster, key_pair, network, roles};
pub use spec::Spec;
