//! Every event of a run, from their schema.

use serde_json::Value;

use super::{choices, head, table, text, wrap};
use crate::cli::SchemaOf;

pub fn page() -> String {
    let schema = crate::commands::schema(SchemaOf::Events).to_value();
    let mut page = head(
        "Events",
        "jobs/interface/src/event.rs",
        "`fruitjob` and `fruitctl run --json` print one event per line on stdout, as JSON objects. Their field `event` \
         holds the name. Within a version of the stream, events and fields may be added, and none is renamed or \
         removed. The [schema](../schema/events-2.json) says the same to programs (`fruitctl schema events`). \
         [Exit codes](exit-codes.md) have a page of their own.",
    );
    for event in schema["oneOf"].as_array().expect("an event is one of several") {
        let name = text(&event["properties"]["event"], "const");
        page += &section(&format!("## `{name}`"), event);
    }
    page += "\n## Types\n";
    for (name, definition) in schema["$defs"].as_object().expect("there are definitions") {
        page += &section(&format!("### {name}"), definition);
    }
    page
}

fn section(heading: &str, schema: &Value) -> String {
    let mut page = format!("\n{heading}\n\n{}", wrap(text(schema, "description")));
    if let Some(words) = schema["oneOf"].as_array() {
        let words = words.iter().map(|word| (text(word, "const"), word["description"].as_str()));
        page += &format!("\n{}", wrap(&format!("One of {}.", choices(words))));
    }
    let fields = schema["properties"].as_object().into_iter().flatten().filter(|(key, _)| *key != "event");
    let row = |(key, field): (&String, &Value)| {
        let help = text(field, "description").replace('\n', " ");
        [format!("`{key}`"), kind(field), help.trim_end_matches('.').to_owned()]
    };
    let rows = table(["field", "type", "meaning"], &fields.map(row).collect::<Vec<_>>());
    if rows.is_empty() { page } else { page + "\n" + &rows }
}

fn kind(schema: &Value) -> String {
    let list = |key: &str| schema[key].as_array();
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(options) = list("anyOf") {
        return options.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(types) = list("type") {
        return types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ");
    }
    match (text(schema, "type"), list("prefixItems"), &schema["maxItems"]) {
        ("array", Some(items), _) => format!("[{}]", items.iter().map(kind).collect::<Vec<_>>().join(", ")),
        ("array", None, Value::Number(length)) => format!("{length} of {}", kind(&schema["items"])),
        ("array", None, _) => format!("list of {}", kind(&schema["items"])),
        (kind, _, _) => kind.to_owned(),
    }
}
