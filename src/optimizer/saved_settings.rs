//! [`SavedSettings`]: what a checkpoint was saved with, and in what words it differs from what is here.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{Config, LearningRate};
use crate::error::{Error, Result};
use crate::layout::{Group, Layout};

/// Their names in the metadata of a checkpoint.
pub(super) const CONFIG: &str = "config";
pub(super) const GROUPS: &str = "groups";

/// The settings of an optimizer, and those of each tensor's group by the name of the tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SavedSettings {
    pub config: Config,
    pub groups: BTreeMap<String, Group>,
}

impl SavedSettings {
    /// Reads both from JSON; what a file lacks has its default, which is what it did before it was a setting.
    pub(super) fn parse(config: &str, groups: &str) -> Result<Self> {
        let mut config: Value = from_json(CONFIG, config)?;
        // The first files have the rate as a number.
        if let Some(rate) = config["learning_rate"].as_f64() {
            config["learning_rate"] = json(&LearningRate::Fixed(rate))?;
        }
        let config = serde_json::from_value(config)
            .map_err(|error| Error::checkpoint_from(format!("`{CONFIG}`"), error))?;
        Ok(Self { config, groups: from_json(GROUPS, groups)? })
    }

    /// Refuses settings of another layout, and names the first tensor that only one of the two has.
    pub(super) fn check_tensors(&self, layout: &Layout) -> Result<()> {
        let names: BTreeSet<_> = layout.tensors().iter().map(|tensor| &tensor.name).collect();
        if let Some(added) = names.iter().find(|name| !self.groups.contains_key(**name)) {
            let reason = format!("it has no tensor `{added}`, which the layout here has");
            return Err(Error::checkpoint(reason));
        }
        match self.groups.keys().find(|name| !names.contains(name)) {
            Some(removed) => {
                Err(Error::checkpoint(format!("its tensor `{removed}` is not in the layout here")))
            }
            None => Ok(()),
        }
    }

    /// What is another here, a sentence for each setting.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for what cannot change within a run.
    pub(super) fn changes(&self, here: &Self) -> Result<Vec<String>> {
        let [saved_config, config] = [json(&self.config)?, json(&here.config)?];
        let [saved_base, base] = [&saved_config["base"], &config["base"]];
        if kind(saved_base) != kind(base) {
            let change = change(&format!("{CONFIG}.base"), saved_base, base);
            return Err(Error::checkpoint(format!("{change}; its moments mean something else")));
        }
        let [saved_dimer, dimer] = [&saved_config["dimer"], &config["dimer"]];
        if let (Some(saved), Some(scope)) = (saved_dimer.get("scope"), dimer.get("scope"))
            && saved != scope
        {
            let change = change(&format!("{CONFIG}.dimer.scope"), saved, scope);
            return Err(Error::checkpoint(format!("{change}; it cannot change")));
        }
        let mut changes = differences(CONFIG, &saved_config, &config);
        changes.extend(differences(GROUPS, &json(&self.groups)?, &json(&here.groups)?));
        Ok(changes)
    }
}

pub(super) fn from_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::checkpoint_from(format!("`{name}`"), error))
}

/// As text, if exactly this can be read from it: JSON has no infinity and no NaN.
pub(super) fn to_json<T: Serialize + DeserializeOwned + PartialEq>(value: &T) -> Result<String> {
    let text = json(value)?.to_string();
    match serde_json::from_str::<T>(&text) {
        Ok(read) if read == *value => Ok(text),
        _ => Err(Error::checkpoint(format!("a number in its metadata is not finite: {text}"))),
    }
}

fn json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::checkpoint_from("the settings", error))
}

/// The variant of an enum, as serde writes it: its name, or an object whose one key is its name.
fn kind(value: &Value) -> Option<&str> {
    let name = match value {
        Value::String(name) => name,
        Value::Object(fields) if fields.len() == 1 => fields.keys().next()?,
        _ => return None,
    };
    name.starts_with(|first: char| first.is_ascii_uppercase()).then_some(name)
}

/// All places in which two settings differ, in words.
fn differences(at: &str, saved: &Value, here: &Value) -> Vec<String> {
    match (saved, here) {
        (Value::Object(a), Value::Object(b)) if kind(saved) == kind(here) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let of = |key: &String| differences(&format!("{at}.{key}"), &saved[key], &here[key]);
            keys.into_iter().flat_map(of).collect()
        }
        _ if saved == here => Vec::new(),
        _ => vec![change(at, saved, here)],
    }
}

fn change(at: &str, saved: &Value, here: &Value) -> String {
    let [saved, here] = [in_words(saved), in_words(here)];
    format!("`{at}` was {saved} when it was saved, but is {here} here")
}

fn in_words(value: &Value) -> String {
    match (value, kind(value)) {
        (Value::Object(fields), Some(kind)) => match &fields[kind] {
            Value::Number(number) => format!("{kind}({number})"),
            _ => kind.to_owned(),
        },
        (_, Some(kind)) => kind.to_owned(),
        (Value::Null, _) => "none".to_owned(),
        (Value::Object(_), _) => "set".to_owned(),
        (other, _) => other.to_string(),
    }
}
