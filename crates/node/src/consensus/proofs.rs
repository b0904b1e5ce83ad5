//! What a light client is given, from the archive of blocks.

use super::{Consensus, EpochEnd, Header, block::preimage};
use commonware_codec::Encode as _;
use commonware_consensus::types::Height;
use commonware_cryptography::Digestible as _;
use muster_api::views;
use muster_types::codec::DecodeError;

/// How many blocks above one are looked at for a certificate.
const DESCENDANTS_MAX: u64 = 64;

/// What makes a block final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Preimages of the blocks from the next one up to the one with the certificate, where that is
    /// a later one: a view may end before its block has a certificate of its own.
    pub descendants: Vec<Vec<u8>>,
    /// The validators' encoded certificate.
    pub certificate: Vec<u8>,
}

impl Consensus {
    /// What makes the block at `height` final; `None` for genesis, above the head, and until the
    /// engine has stored a certificate.
    pub async fn certified(&self, height: u64) -> Option<Certified> {
        let marshal = &self.0.ends.marshal;
        let mut descendants = Vec::new();
        for at in height..=height.saturating_add(DESCENDANTS_MAX).min(self.head().height) {
            if at > height {
                let block = marshal.get_block(Height::new(at)).await?;
                descendants.push(preimage(&block.inner().header, &block.inner().context));
            }
            if let Some(found) = marshal.get_finalization(Height::new(at)).await {
                // A certificate that is kept for a height may come before the block does.
                let block = marshal.get_block(Height::new(at)).await?;
                if found.proposal.payload == block.digest() {
                    return Some(Certified { descendants, certificate: found.encode().to_vec() });
                }
            }
        }
        None
    }

    /// The end of an epoch; `None` where it has not ended, or this node does not have it.
    pub async fn epoch_end(&self, epoch: u64) -> Option<EpochEnd> {
        let last = self.0.epochs.root(epoch.checked_add(1)?);
        if last > self.head().height {
            return None;
        }
        self.0.ends.get(epoch).await
    }
}

impl EpochEnd {
    /// As the HTTP API and receipts have it.
    ///
    /// # Errors
    /// [`DecodeError`] where its header is none.
    pub fn view(&self) -> Result<views::EpochEnd, DecodeError> {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let header = Header::of_preimage(&self.preimage)?;
        Ok(views::EpochEnd {
            epoch: header.epoch,
            height: header.height,
            now: header.time,
            header: hex(&self.preimage),
            certificate: hex(&self.certificate),
            next: self.next.clone(),
        })
    }
}
