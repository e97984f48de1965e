//! Following the references inside a profile that came from elsewhere: none is trusted.

use std::collections::HashMap;

use crate::pprof::{Function, Line, Location, Mapping, Profile, Sample};

/// A profile that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A string index lies outside the string table.
    #[error("the profile names string {0}, which its table does not have: it is damaged")]
    NoString(i64),
    /// A location names a mapping that is not defined.
    #[error("the profile names mapping {0}, which it does not define: it is damaged")]
    NoMapping(u64),
    /// A line names a function that is not defined.
    #[error("the profile names function {0}, which it does not define: it is damaged")]
    NoFunction(u64),
    /// A sample names a location that is not defined.
    #[error("the profile names location {0}, which it does not define: it is damaged")]
    NoLocation(u64),
    /// Two entries of one table have the same id, or one has id 0.
    #[error("the profile defines {table} {id} twice, or as number 0: it is damaged")]
    BadId {
        /// `mapping`, `function` or `location`.
        table: &'static str,
        /// The id.
        id: u64,
    },
    /// A sample has not one value for each sample type.
    #[error(
        "a sample has {values} values where the profile has {sample_types} sample types: it is damaged"
    )]
    ValueCount {
        /// Values of the sample.
        values: usize,
        /// Sample types of the profile.
        sample_types: usize,
    },
}

/// A profile and where each id of it is defined.
#[derive(Debug)]
pub(crate) struct References<'p> {
    pub(crate) profile: &'p Profile,
    mappings: Ids,
    functions: Ids,
    locations: Ids,
}

impl<'p> References<'p> {
    /// Fails on an id that is defined twice or is 0.
    pub(crate) fn new(profile: &'p Profile) -> Result<Self, Malformed> {
        let bad = |table| move |id| Malformed::BadId { table, id };
        let mappings =
            Ids::new(profile.mapping.iter().map(|mapping| mapping.id)).map_err(bad("mapping"))?;
        let functions = Ids::new(profile.function.iter().map(|function| function.id))
            .map_err(bad("function"))?;
        let locations = Ids::new(profile.location.iter().map(|location| location.id))
            .map_err(bad("location"))?;
        Ok(References {
            profile,
            mappings,
            functions,
            locations,
        })
    }

    /// As [`References::new`], and every reference of the profile leads somewhere.
    pub(crate) fn checked(profile: &'p Profile) -> Result<Self, Malformed> {
        let references = References::new(profile)?;
        references.check_head()?;
        for sample in &profile.sample {
            references.check_sample(sample)?;
        }
        for location in &profile.location {
            references.check_location(location)?;
        }
        for function in &profile.function {
            references.check_strings([function.name, function.system_name, function.filename])?;
        }
        for mapping in &profile.mapping {
            references.check_strings([mapping.filename, mapping.build_id])?;
        }
        Ok(references)
    }

    pub(crate) fn string(&self, index: i64) -> Result<&'p str, Malformed> {
        usize::try_from(index)
            .ok()
            .and_then(|position| self.profile.string_table.get(position))
            .map(String::as_str)
            .ok_or(Malformed::NoString(index))
    }

    /// The mapping and its position in the table.
    pub(crate) fn mapping(&self, id: u64) -> Result<(usize, &'p Mapping), Malformed> {
        let position = self.mappings.position(id).ok_or(Malformed::NoMapping(id))?;
        let mapping = self
            .profile
            .mapping
            .get(position)
            .ok_or(Malformed::NoMapping(id))?;
        Ok((position, mapping))
    }

    /// The function and its position in the table.
    pub(crate) fn function(&self, id: u64) -> Result<(usize, &'p Function), Malformed> {
        let position = self
            .functions
            .position(id)
            .ok_or(Malformed::NoFunction(id))?;
        let function = self
            .profile
            .function
            .get(position)
            .ok_or(Malformed::NoFunction(id))?;
        Ok((position, function))
    }

    /// The location and its position in the table.
    pub(crate) fn location(&self, id: u64) -> Result<(usize, &'p Location), Malformed> {
        let position = self
            .locations
            .position(id)
            .ok_or(Malformed::NoLocation(id))?;
        let location = self
            .profile
            .location
            .get(position)
            .ok_or(Malformed::NoLocation(id))?;
        Ok((position, location))
    }

    fn check_strings(&self, indexes: impl IntoIterator<Item = i64>) -> Result<(), Malformed> {
        indexes
            .into_iter()
            .try_for_each(|index| self.string(index).map(drop))
    }

    fn check_head(&self) -> Result<(), Malformed> {
        let profile = self.profile;
        for value_type in profile.sample_type.iter().chain(&profile.period_type) {
            self.check_strings([value_type.r#type, value_type.unit])?;
        }
        self.check_strings(profile.comment.iter().copied())?;
        self.check_strings([
            profile.drop_frames,
            profile.keep_frames,
            profile.default_sample_type,
        ])
    }

    fn check_sample(&self, sample: &Sample) -> Result<(), Malformed> {
        let (values, sample_types) = (sample.value.len(), self.profile.sample_type.len());
        if values != sample_types {
            return Err(Malformed::ValueCount {
                values,
                sample_types,
            });
        }
        for id in &sample.location_id {
            self.location(*id)?;
        }
        for label in &sample.label {
            self.check_strings([label.key, label.str, label.num_unit])?;
        }
        Ok(())
    }

    fn check_location(&self, location: &Location) -> Result<(), Malformed> {
        // 0 says that the mapping is unknown.
        if location.mapping_id != 0 {
            self.mapping(location.mapping_id)?;
        }
        location
            .line
            .iter()
            .try_for_each(|Line { function_id, .. }| self.function(*function_id).map(drop))
    }
}

/// From id to position in a table.
#[derive(Debug)]
pub(crate) enum Ids {
    /// 1, 2, 3 and so on, as every writer worth its name numbers them: nothing to look up.
    Dense {
        len: usize,
    },
    Sparse(HashMap<u64, usize>),
}

impl Ids {
    /// Fails with an id that is 0 or there twice.
    pub(crate) fn new(ids: impl Iterator<Item = u64> + Clone) -> Result<Self, u64> {
        let dense = (1..)
            .zip(ids.clone())
            .take_while(|(expected, id): &(u64, u64)| expected == id);
        let len = dense.count();
        if len == ids.clone().count() {
            return Ok(Ids::Dense { len });
        }
        let mut positions = HashMap::new();
        for (position, id) in ids.enumerate() {
            if id == 0 || positions.insert(id, position).is_some() {
                return Err(id);
            }
        }
        Ok(Ids::Sparse(positions))
    }

    pub(crate) fn position(&self, id: u64) -> Option<usize> {
        match self {
            Ids::Dense { len } => usize::try_from(id.checked_sub(1)?)
                .ok()
                .filter(|position| position < len),
            Ids::Sparse(positions) => positions.get(&id).copied(),
        }
    }
}
