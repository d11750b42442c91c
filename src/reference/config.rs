//! Every key of `fruitctl.toml`, from its schema.

use serde_json::Value;

use super::{choices, head, split_default, table, text, wrap};

pub fn page() -> String {
    let schema = crate::config::schema().to_value();
    let mut page = head(
        "fruitctl.toml",
        "src/config",
        "Every key of `fruitctl.toml`. Options on the command line overrule it. Relative paths in `input`, `output`, \
         `model` and `script` are relative to the file. `fruitctl init` writes one with comments.",
    );
    page += "\n";
    page += &wrap(
        "`fruitctl init` also writes the file's JSON Schema to `.fruitctl/schema.json` beside it and names it in the first \
         line. Editors with Taplo or Even Better TOML then complete keys and mark mistakes. Nothing else reads it: you \
         may delete it. After an update of fruitctl, write it again:",
    );
    page += "\n    fruitctl schema config > .fruitctl/schema.json\n\n## Top level\n\n";
    page + &section(&schema, "")
}

/// The keys of a table, and then the tables in it.
fn section(schema: &Value, path: &str) -> String {
    let (mut rows, mut below) = (Vec::new(), String::new());
    for (key, value) in schema["properties"].as_object().expect("a table has keys") {
        let name = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let inner = if value["items"]["properties"].is_object() { &value["items"] } else { value };
        if inner["properties"].is_object() {
            let heading =
                if std::ptr::eq(inner, value) { format!("[{name}]") } else { format!("[[{name}]]") };
            let (help, _) = split_default(text(value, "description"));
            below += &format!("\n## `{heading}`\n\n{}\n{}", wrap(&format!("{help}.")), section(inner, &name));
        } else {
            let required =
                schema["required"].as_array().is_some_and(|all| all.iter().any(|name| name == key));
            rows.push(row(key, value, required));
        }
    }
    table(["key", "type", "default", "what it does"], &rows) + &below
}

fn row(key: &str, schema: &Value, required: bool) -> [String; 4] {
    let (mut help, stated) = split_default(text(schema, "description"));
    if let Some(words) = schema["enum"].as_array() {
        let helps = &schema["x-taplo"]["docs"]["enumValues"];
        let words = words.iter().enumerate().map(|(at, word)| (word.as_str().unwrap(), helps[at].as_str()));
        help += &format!(". {}", choices(words));
    }
    let default = match &schema["default"] {
        Value::Null if required => "required".into(),
        Value::Null => stated.unwrap_or_default(),
        value => format!("`{value}`"),
    };
    [format!("`{key}`"), kind(schema), default, help]
}

fn kind(schema: &Value) -> String {
    match text(schema, "type") {
        "" => either(schema, kind),
        "array" => format!("list of {}", plural(&schema["items"])),
        "object" => format!("table of {}", plural(&schema["additionalProperties"])),
        // A minimum of 0 goes without saying: only what may be below is worth a word.
        "integer" if schema["minimum"].as_u64() > Some(0) => format!("integer from {}", schema["minimum"]),
        "number" if schema["maximum"].is_number() => {
            format!("number from {} to {}", schema["minimum"], schema["maximum"])
        }
        kind => kind.to_owned(),
    }
}

fn plural(schema: &Value) -> String {
    if schema["type"].is_array() {
        return either(schema, plural);
    }
    let kind = kind(schema);
    let (noun, rest) = kind.split_at(kind.find(' ').unwrap_or(kind.len()));
    format!("{noun}s{rest}")
}

/// Of a value that may be of several types.
fn either(schema: &Value, name: fn(&Value) -> String) -> String {
    let types = schema["type"].as_array().into_iter().flatten();
    let names = types.map(|one| {
        let mut schema = schema.clone();
        schema["type"] = one.clone();
        name(&schema)
    });
    names.collect::<Vec<_>>().join(" or ")
}
