//! States of clusters, steps and instances, as EMR names them.

use serde::{Serialize, Serializer};

/// An enum of states with EMR's names; a state that is none of them is `Unknown`.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are EMR's")]
        pub enum $name {
            $($variant,)*
            /// EMR did not say, or said something that this version does not know.
            #[default]
            Unknown,
        }

        impl $name {
            /// By EMR's name.
            pub fn of(name: Option<&str>) -> Self {
                match name {
                    $(Some($text) => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }

            /// As EMR writes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "UNKNOWN",
                }
            }

            /// For people.
            pub fn in_words(self) -> String {
                self.name().to_lowercase()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

states! {
    /// A cluster's.
    /// Source: <https://docs.aws.amazon.com/emr/latest/APIReference/API_ClusterStatus.html>.
    ClusterState {
        Starting = "STARTING",
        Bootstrapping = "BOOTSTRAPPING",
        Running = "RUNNING",
        Waiting = "WAITING",
        Terminating = "TERMINATING",
        Terminated = "TERMINATED",
        TerminatedWithErrors = "TERMINATED_WITH_ERRORS",
    }
}

states! {
    /// A step's.
    /// Source: <https://docs.aws.amazon.com/emr/latest/APIReference/API_StepStatus.html>.
    StepState {
        Pending = "PENDING",
        CancelPending = "CANCEL_PENDING",
        Running = "RUNNING",
        Completed = "COMPLETED",
        Cancelled = "CANCELLED",
        Failed = "FAILED",
        Interrupted = "INTERRUPTED",
    }
}

states! {
    /// An instance's.
    /// Source: <https://docs.aws.amazon.com/emr/latest/APIReference/API_InstanceStatus.html>.
    InstanceState {
        AwaitingFulfillment = "AWAITING_FULFILLMENT",
        Provisioning = "PROVISIONING",
        Bootstrapping = "BOOTSTRAPPING",
        Running = "RUNNING",
        Terminated = "TERMINATED",
    }
}

impl ClusterState {
    /// It has not ended, as far as is known.
    pub fn lives(self) -> bool {
        !matches!(self, ClusterState::Terminated | ClusterState::TerminatedWithErrors)
    }

    /// It can be used, now or soon, as far as is known.
    pub fn is_usable(self) -> bool {
        self.lives() && self != ClusterState::Terminating
    }

    /// It is ready for steps.
    pub fn takes_steps(self) -> bool {
        matches!(self, ClusterState::Running | ClusterState::Waiting)
    }
}

impl StepState {
    /// It will not change any more.
    pub fn has_ended(self) -> bool {
        use StepState::{Cancelled, Completed, Failed, Interrupted};
        matches!(self, Completed | Cancelled | Failed | Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_emrs_and_come_back() {
        for name in ["STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING", "TERMINATING", "TERMINATED"] {
            assert_eq!(ClusterState::of(Some(name)).name(), name);
        }
        for name in ["PENDING", "CANCEL_PENDING", "COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"] {
            assert_eq!(StepState::of(Some(name)).name(), name);
        }
        assert_eq!(serde_json::to_string(&InstanceState::of(Some("RUNNING"))).unwrap(), "\"RUNNING\"");
    }

    /// What is new at AWS is taken neither for an end nor for a cluster that is ready.
    #[test]
    fn an_unknown_state_is_neither_ended_nor_ready() {
        for name in [None, Some(""), Some("HIBERNATING")] {
            let state = ClusterState::of(name);
            assert_eq!(state, ClusterState::Unknown);
            assert!(state.lives() && !state.takes_steps() && !StepState::of(name).has_ended());
        }
    }

    #[test]
    fn a_cluster_ends_once() {
        use ClusterState::*;
        assert!([Starting, Bootstrapping, Running, Waiting].iter().all(|s| s.lives() && s.is_usable()));
        assert!(Terminating.lives() && !Terminating.is_usable());
        assert!([Terminated, TerminatedWithErrors].iter().all(|s| !s.lives() && !s.is_usable()));
    }
}
