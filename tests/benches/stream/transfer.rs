//! One file over one stream, as it is or sealed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vernam_key::{Direction, File, Inbound, Outbound};
use vernam_quic::{RecvStream, SendStream};
use vernam_session::limits::{AEAD_SEED_LEN, HASH_KEY_LEN, RECORD_HEADER_LEN, TAG_LEN};
use vernam_session::{KeyBlock, KeyError, RecordHeader, RecordOpener, RecordSealer, Suite};

use crate::flow::{block, context, exporter, key_bytes};
use crate::timing::Work;

const NOW: Duration = Duration::ZERO;
/// Records a block of one-time pad lasts for.
const RECORDS_A_BLOCK: usize = 16;

/// Sends the batch as it is.
pub(crate) async fn bare(stream: impl Future<Output = (SendStream, RecvStream)>, work: Work) -> Duration {
    let (mut send, mut receive) = stream.await;
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let source = vec![1_u8; work.bytes];
        for _piece in 0..work.operations {
            send.write_chunk(Bytes::copy_from_slice(&source)).await.expect("the connection lives");
        }
        send.finish().expect("it was not finished before");
    });
    let mut piece = vec![0; work.bytes];
    for _piece in 0..work.operations {
        receive.read_exact(&mut piece).await.expect("as many pieces come");
    }
    sending.await.expect("the sender is done");
    start.elapsed()
}

/// Sends the batch through the session layer.
pub(crate) async fn sealed(
    stream: impl Future<Output = (SendStream, RecvStream)>,
    suite: Suite,
    work: Work,
) -> Duration {
    let (mut send, mut receive) = stream.await;
    let mut ours = blocks::<Outbound>(suite, work);
    let mut theirs = blocks::<Inbound>(suite, work);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let source = vec![1_u8; work.bytes];
        let mut sealer = RecordSealer::<File>::new(context::<File>(), &exporter());
        for _piece in 0..work.operations {
            let mut record = Vec::with_capacity(RECORD_HEADER_LEN + work.bytes + TAG_LEN);
            record.extend_from_slice(&[0; RECORD_HEADER_LEN]);
            record.extend_from_slice(&source);
            while let Err(error) = sealer.seal_in_place(&mut record, false, NOW) {
                assert!(matches!(error, KeyError::NeedKey), "{error}");
                sealer.install(ours.pop_front().expect("enough was made")).expect("blocks come in turn");
            }
            send.write_chunk(record.into()).await.expect("the connection lives");
            // Sealing takes long enough that the connection should send meanwhile, which waits for this worker.
            tokio::task::yield_now().await;
        }
        send.finish().expect("it was not finished before");
    });
    let mut opener = RecordOpener::<File>::new(context::<File>(), &exporter());
    let (mut header, mut body) = ([0; RECORD_HEADER_LEN], vec![0; work.bytes + TAG_LEN]);
    for _piece in 0..work.operations {
        while opener.has_room_for_key() && !theirs.is_empty() {
            opener.install(theirs.pop_front().expect("it is not empty")).expect("blocks come in turn");
        }
        receive.read_exact(&mut header).await.expect("as many records come");
        receive.read_exact(&mut body).await.expect("as many records come");
        let header = RecordHeader::parse(&header).expect("the sender is honest");
        opener.open(&header, &mut body).expect("the sender is honest");
    }
    sending.await.expect("the sender is done");
    start.elapsed()
}

/// As much key as the batch takes.
fn blocks<D: Direction>(suite: Suite, work: Work) -> VecDeque<KeyBlock<D>> {
    let (count, len) = match suite {
        Suite::Otp => {
            (work.operations.div_ceil(RECORDS_A_BLOCK), HASH_KEY_LEN + RECORDS_A_BLOCK * (work.bytes + TAG_LEN))
        }
        Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => (1, AEAD_SEED_LEN),
    };
    let bytes = key_bytes(len);
    (0..).take(count).map(|generation| block::<File, D>(suite, generation, 0, &bytes)).collect()
}
