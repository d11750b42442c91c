//! What is said of a page that recognises: what its gallery is of, and how often it is right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What goes into a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PageOptions {
    /// Pictures of a label, at most.
    pub per_label: usize,
    /// The share of all pictures that is set aside to see how often the page is right, 0 to 0.5.
    pub check: f64,
}

/// Pictures of a label that a page has, unless something else is said.
pub const PER_LABEL: usize = 8;
/// The share that is set aside, unless something else is said.
pub const CHECK: f64 = 0.1;

impl Default for PageOptions {
    fn default() -> Self {
        PageOptions { per_label: PER_LABEL, check: CHECK }
    }
}

/// A page that was written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageRecord {
    /// Where it is.
    pub page: String,
    /// Its version: a hash of all that is in it.
    pub version: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it tells apart, in order.
    pub labels: Vec<PageLabel>,
    /// What came of the pictures that were set aside; null where there were none.
    pub check: Option<PageCheck>,
    /// Whether the run's PCA was pinned: then other nights' pages place pictures alike.
    pub pinned: bool,
}

/// A label of a page.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageLabel {
    /// What it is called.
    pub label: String,
    /// Pictures of it in the run's results.
    pub results: u64,
    /// Those that the page has.
    pub pictures: u64,
    /// Of these, those that look like photographs. The others are on a plain white ground, as from a turntable. An estimate.
    pub photographs: u64,
}

/// Pictures that were set aside, held against those of the page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageCheck {
    /// How many there were.
    pub pictures: u64,
    /// The page would have said their label.
    pub right: u64,
    /// Another.
    pub wrong: u64,
    /// That they are unlike anything there.
    pub unlike: u64,
}

impl PageRecord {
    /// Pictures that the page has.
    pub fn pictures(&self) -> u64 {
        self.labels.iter().map(|label| label.pictures).sum()
    }

    /// Those that look like photographs.
    pub fn photographs(&self) -> u64 {
        self.labels.iter().map(|label| label.photographs).sum()
    }
}
