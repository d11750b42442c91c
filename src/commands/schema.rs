//! `fruitctl schema`: the JSON Schema of what fruitctl reads and of what it writes for programs.

use fruitjob_interface::Event;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::cli::{SchemaArgs, SchemaOf};
use crate::error::Result;
use crate::run::summary::Summary;
use crate::{config, ui};

/// Prints it.
pub fn run(args: &SchemaArgs) -> Result<()> {
    ui::json(&schema(args.of));
    Ok(())
}

/// The schema itself; a test holds what is published in `docs/schema` to it.
pub fn schema(of: SchemaOf) -> Schema {
    fn of_type<T: JsonSchema>() -> Schema {
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
    }
    match of {
        SchemaOf::Config => config::schema(),
        SchemaOf::Events => of_type::<Event>(),
        SchemaOf::RunSummary => of_type::<Summary>(),
    }
}
