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
            match map.next_value()? {
                Entry::Property(value) => {
                    found.properties.insert(name, value);
                }
                Entry::Classification(inner) if inner.inner.is_empty() => {
                    found.inner.insert(name, inner);
                }
                // To TOML, a name with dots and without quotes is a table in a table, of which EMR's have none:
                // https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-configure-apps.html.
                Entry::Classification(inner) => {
                    let next = inner.inner.keys().next().map(String::as_str).unwrap_or_default();
                    return Err(A::Error::custom(want_quotes(&format!("{name}.{next}..."))));
                }
            }
        }
        Ok(Entry::Classification(found))
    }
}

/// Classifications, of which those that are flat files hold no others: there, a table is a name that lacks its quotes.
pub(super) fn all<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Classifications, D::Error> {
    let all = Classifications::deserialize(deserializer)?;
    for (name, classification) in
        all.iter().filter(|(name, _)| name.ends_with("-defaults") || name.ends_with("-site"))
    {
        if let Some((first, inner)) = classification.inner.iter().next() {
            let rest = inner.properties.keys().next().map(String::as_str).unwrap_or_default();
            return Err(D::Error::custom(format!("{name}: {}", want_quotes(&format!("{first}.{rest}")))));
        }
    }
    Ok(all)
}

fn want_quotes(name: &str) -> String {
    format!("names of properties that have dots want quotes, as in \"{name}\" = \"...\"")
}

impl JsonSchema for Classification {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Classification".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "object"], "additionalProperties": { "type": "string" } }
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
    }

    #[test]
    fn names_with_dots_want_quotes() {
        for (line, words) in [
            ("spark.executor.memory = \"4g\"", "want quotes, as in \"spark.executor"),
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
