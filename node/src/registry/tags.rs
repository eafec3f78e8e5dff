use super::manifests::CONDITION_ATTEMPTS;
use super::{Condition, Error, Page, Registry};
use crate::auth::{Delete, Grant, Pull};
use crate::metadata::{self, Command, Outcome};
use flotilla_proto::oci::{Reference, Tag};
use flotilla_proto::wire::metadata as wire;

impl Registry {
    /// At most `limit` tags of a repository after `last`.
    pub async fn tags(&self, grant: &Grant<Pull>, last: Option<&str>, limit: usize) -> Result<Page, Error> {
        let name = grant.repository();
        let view = self.view().await?;
        let repository = view.repository(name)?.ok_or_else(|| Error::NameUnknown(name.clone()))?;
        let tags = view.tags(repository.id, last, limit + 1)?;
        Ok(Page::cut(tags.iter().map(ToString::to_string).collect(), limit))
    }

    /// Deletes a tag, and only that.
    pub async fn delete_tag(
        &self,
        grant: &Grant<Delete>,
        tag: &Tag,
        condition: Option<Condition<'_>>,
    ) -> Result<(), Error> {
        let name = grant.repository();
        if !self.0.settings.delete {
            return Err(Error::DeletesDisabled);
        }
        let reference = Reference::Tag(tag.clone());
        for _ in 0..CONDITION_ATTEMPTS {
            let expect = self.expect(name, &reference, condition).await?;
            let command = wire::DeleteTag { repository: name.to_string(), tag: tag.to_string(), expect };
            match self.propose(Command::DeleteTag(command)).await? {
                Outcome::Done(_) => return Ok(()),
                Outcome::RepositoryUnknown(_) => return Err(Error::NameUnknown(name.clone())),
                Outcome::TagUnknown(_) => return Err(Error::ManifestUnknown(reference)),
                Outcome::PreconditionFailed(_) => {}
                other => return Err(Error::unexpected(&other)),
            }
        }
        Err(metadata::Error::Overloaded.into()) // the tag moves all the time, and the condition holds each time
    }
}
