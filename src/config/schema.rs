//! The JSON Schema of `fruitctl.toml`, as editors want it.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Value, json};

use super::Config;

/// Draft 7, without references: Taplo, and so the editors that use it, knows draft 4 and little more, and ignores what stands
/// beside a reference. Source: <https://taplo.tamasfe.dev/configuration/developing-schemas.html>.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    RecursiveTransform(tidy).transform(&mut schema);
    schema.insert("title".into(), "fruitctl.toml".into());
    schema
}

/// Says it as TOML can: there is no null. Alternatives that are words become an enumeration, which editors complete.
fn tidy(schema: &mut Schema) {
    if let Some(Value::Array(options)) = schema.remove("anyOf") {
        let some = options.into_iter().find(|option| option["type"] != "null").unwrap_or_default();
        for (key, value) in some.as_object().into_iter().flatten() {
            // What is said of the key comes before what is said of its type.
            if schema.get(key).is_none() {
                schema.insert(key.clone(), value.clone());
            }
        }
    }
    if let Some(Value::Array(types)) = schema.get("type") {
        let mut some: Vec<_> = types.iter().filter(|name| *name != "null").cloned().collect();
        let some = if some.len() == 1 { some.remove(0) } else { some.into() };
        schema.insert("type".into(), some);
    }
    if schema.get("default").is_some_and(|default| *default == Value::Null || *default == json!({})) {
        schema.remove("default");
    }
    if let Some(Value::Array(words)) = schema.remove("oneOf") {
        let all = |key: &str| words.iter().map(|word| word[key].clone()).collect::<Value>();
        schema.insert("type".into(), "string".into());
        schema.insert("enum".into(), all("const"));
        schema.insert("x-taplo".into(), json!({ "docs": { "enumValues": all("description") } }));
    }
    if let Some(Value::String(text)) = schema.get("description") {
        let text = text.replace('\n', " ").into();
        schema.insert("description".into(), text);
    }
    schema.remove("format");
}
