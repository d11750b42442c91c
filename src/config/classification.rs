//! `[cluster.configurations]`: EMR's classifications, as TOML's tables.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Classifications by name, such as `spark-defaults`.
pub type Classifications = BTreeMap<String, Classification>;

/// A classification: what is written into one of an application's files, and classifications inside it, such as `export` of
/// `spark-env`. Source: <https://docs.aws.amazon.com/emr/latest/APIReference/API_Configuration.html>.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classification {
    /// Values by name.
    pub properties: BTreeMap<String, String>,
    /// What is inside.
    pub inner: Classifications,
}

impl<'de> Deserialize<'de> for Classification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Entry::deserialize(deserializer)? {
            Entry::Classification(found) => Ok(found),
            Entry::Property(_) => Err(D::Error::custom("a classification is a table of properties")),
        }
    }
}

/// What stands under a name in a classification.
enum Entry {
    Property(String),
    Classification(Classification),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, as all values of properties are, or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Property(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut found = Classification::default();
        while let Some(name) = map.next_key::<String>()? {
            // As which toml hands dates over.
            if name.starts_with("$__toml") {
                return Err(A::Error::custom("a date wants quotes: all values of properties are strings"));
            }
            match map.next_value()? {
                Entry::Property(value) => {
                    found.properties.insert(name, value);
                }
                Entry::Classification(inner) => {
                    found.inner.insert(name, inner);
                }
            }
        }
        Ok(Entry::Classification(found))
    }
}

/// Whether a classification holds others. To TOML, the name of a property that has dots and no quotes is a table in a table;
/// so others are not believed to. Sources: <https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-configure-apps.html>,
/// emr-spark-docker.html and hue-rds.html beside it.
fn holds_others(name: &str) -> bool {
    name.ends_with("-env") || ["container-executor", "hue-ini"].contains(&name)
}

/// All of them.
pub(super) fn all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Classifications, D::Error> {
    let all = Classifications::deserialize(deserializer)?;
    let flat = all.iter().filter(|(name, _)| !holds_others(name));
    for (name, classification) in flat {
        let mut words = Vec::new();
        let mut level = classification;
        while let Some((word, inner)) = level.inner.iter().next() {
            words.push(word.as_str());
            level = inner;
        }
        if !words.is_empty() {
            words.extend(level.properties.keys().next().map(String::as_str));
            let property = words.join(".");
            return Err(D::Error::custom(format!(
                "{name}: names of properties that have dots want quotes, as in \"{property}\" = \"...\""
            )));
        }
    }
    Ok(all)
}

impl JsonSchema for Classification {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Classification".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "object"], "additionalProperties": { "type": ["string", "object"] } }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> crate::error::Result<Classifications> {
        Ok(Config::parse(text, Path::new("f.toml"))?.cluster.configurations)
    }

    #[test]
    fn tables_in_a_classification_are_classifications() {
        let all = parse(
            "[cluster.configurations.spark-defaults]\n\"spark.a\" = \"1\"\n\
             [cluster.configurations.hadoop-env.export]\nJAVA_HOME = \"/usr/lib/jvm\"\n",
        )
        .unwrap();
        assert_eq!(all["spark-defaults"].properties["spark.a"], "1");
        assert!(all["spark-defaults"].inner.is_empty() && all["hadoop-env"].properties.is_empty());
        assert_eq!(all["hadoop-env"].inner["export"].properties["JAVA_HOME"], "/usr/lib/jvm");
        let hue = parse("[cluster.configurations.hue-ini.desktop.database]\nengine = \"mysql\"\n").unwrap();
        assert_eq!(hue["hue-ini"].inner["desktop"].inner["database"].properties["engine"], "mysql");
    }

    #[test]
    fn names_with_dots_want_quotes() {
        for (line, words) in [
            ("spark.executor.memory = \"4g\"", "want quotes, as in \"spark.executor.memory\" ="),
            ("since = 2024-01-01", "a date wants quotes"),
            (
                "spark.a = \"1\"",
                "spark-defaults: names of properties that have dots want quotes, as in \"spark.a\"",
            ),
            ("\"spark.cores\" = 4", "a string"),
        ] {
            let text = format!("[cluster.configurations.spark-defaults]\n{line}\n");
            let message = parse(&text).unwrap_err().to_string();
            assert!(message.starts_with("f.toml:") && message.contains(words), "{line}: {message}");
        }
        let message = parse("[cluster.configurations]\nspark-defaults = \"x\"\n").unwrap_err().to_string();
        assert!(message.starts_with("f.toml:2:18") && message.contains("a table of properties"), "{message}");
    }
}
