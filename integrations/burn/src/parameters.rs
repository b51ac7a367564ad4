//! [`Parameters`]: the tensors of a module that are trained, in the order in which it is visited.

use std::collections::HashMap;
use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::{DType, Device, Tensor};
use dimer::{Group, Layout};

use crate::error::{Error, Result};

/// One trained tensor.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    id: ParamId,
    /// Its path in the module.
    name: String,
    shape: Vec<usize>,
    /// Where its elements lie in a vector on the host, without padding.
    range: Range<usize>,
}

/// Every trained tensor of a module once, also where several places share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    entries: Vec<Parameter>,
    positions: HashMap<ParamId, usize>,
}

impl Parameters {
    /// Lists the parameters of `module` that require a gradient.
    pub(crate) fn of<M: Module>(module: &M, device: &Device) -> Result<Self> {
        let mut visitor = Visitor { device, path: Vec::new(), found: Self::default(), error: None };
        module.visit(&mut visitor);
        match visitor.error {
            Some(error) => Err(error),
            None if visitor.found.entries.is_empty() => Err(Error::NothingToTrain),
            None => Ok(visitor.found),
        }
    }

    /// How they are packed: the first of `groups` that matches a name has it.
    pub(crate) fn layout(&self, groups: &[(ParamGroup, Group)]) -> Result<Layout> {
        let mut builder = Layout::builder();
        let ids: Vec<_> = groups.iter().map(|(_, group)| builder.group(group.clone())).collect();
        let mut used = vec![false; groups.len()];
        for Parameter { id, name, shape, .. } in &self.entries {
            match groups.iter().position(|(group, _)| group.matches(id, Some(name))) {
                Some(index) => {
                    used[index] = true;
                    builder.tensor_in(ids[index], name, shape);
                }
                None => {
                    builder.tensor(name, shape);
                }
            }
        }
        if let Some(index) = used.iter().position(|used| !used) {
            return Err(Error::EmptyGroup { index, names: self.names() });
        }
        Ok(builder.build()?)
    }

    /// The index of a parameter, which is that of its tensor in the layout.
    pub(crate) fn position(&self, id: ParamId) -> Option<usize> {
        self.positions.get(&id).copied()
    }

    /// Where the elements of a parameter lie in a vector on the host.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        self.entries[index].range.clone()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The identity and the name of each.
    #[cfg(feature = "train")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ParamId, &str)> {
        self.entries.iter().map(|entry| (entry.id, entry.name.as_str()))
    }

    /// Whether `other`, of another module, has the same names and shapes in the same order.
    pub(crate) fn check_same(&self, other: &Self) -> Result<()> {
        let changed = |what: String| Err(Error::ModuleChanged(what));
        for (old, new) in self.entries.iter().zip(&other.entries) {
            if old.name != new.name {
                return changed(format!("\"{}\" stands where \"{}\" was", new.name, old.name));
            }
            if old.shape != new.shape {
                let Parameter { name, shape, .. } = new;
                return changed(format!("\"{name}\" has shape {shape:?}, not {:?}", old.shape));
            }
        }
        if self.len() != other.len() {
            return changed(format!("it has {} parameters, not {}", other.len(), self.len()));
        }
        Ok(())
    }

    fn names(&self) -> String {
        self.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Collects [`Parameters`]; keeps the first thing that is wrong, since a visitor cannot fail.
struct Visitor<'a> {
    device: &'a Device,
    path: Vec<String>,
    found: Parameters,
    error: Option<Error>,
}

impl ModuleVisitor for Visitor<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        if !tensor.is_require_grad() || self.found.positions.contains_key(&param.id) {
            return;
        }
        let name = self.path.join(".");
        let wrong = if tensor.device() != *self.device {
            Some(format!(
                "is on {:?}, not on {:?}; `fork` the module",
                tensor.device(),
                self.device
            ))
        } else if tensor.dtype() != DType::F32 {
            Some(format!("is of type {:?}; only F32 can be trained", tensor.dtype()))
        } else {
            None
        };
        if let Some(reason) = wrong {
            self.error.get_or_insert(Error::Parameter { name, reason });
            return;
        }
        self.found.positions.insert(param.id, self.found.entries.len());
        let shape = tensor.dims().to_vec();
        let begin = self.found.entries.last().map_or(0, |entry| entry.range.end);
        let range = begin..begin + tensor.shape().num_elements();
        self.found.entries.push(Parameter { id: param.id, name, shape, range });
    }
}
