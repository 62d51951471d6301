//! What is seen of blocks without unpacking them is what the library unpacks, however they are
//! packed and cut.

use super::super::PREFACE;
use super::super::frames::{
    CONTINUATION_BYTE, END_HEADERS, END_STREAM, Frames, HEADERS_BYTE, Part, frame_of,
};
use super::super::huffman::pack;
use super::*;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

/// A field and how it is packed.
type Packed = (u8, u16, u8);

/// One request: sizes of the table, its pseudo-headers, its fields, and where it is cut.
#[derive(Clone, Debug)]
struct Block {
    resize: Option<u16>,
    pseudo: [u8; 4],
    fields: Vec<Packed>,
    cuts: Vec<u16>,
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let fields = prop::collection::vec((0u8..6, 0u16..300, any::<u8>()), 0..12);
    let cuts = prop::collection::vec(any::<u16>(), 0..4);
    let resize = prop::option::weighted(0.2, 0u16..=4096);
    let block = (resize, any::<[u8; 4]>(), fields, cuts);
    let block =
        block.prop_map(|(resize, pseudo, fields, cuts)| Block { resize, pseudo, fields, cuts });
    prop::collection::vec(block, 1..8)
}

/// An encoder that packs as it is told to.
struct Packer {
    table: Vec<(String, String)>,
    most: usize,
    out: Vec<u8>,
}

impl Packer {
    fn number(&mut self, first: u8, bits: u32, mut value: usize) {
        let most = (1usize << bits) - 1;
        if value < most {
            return self.out.push(first | u8::try_from(value).expect("small"));
        }
        self.out.push(first | u8::try_from(most).expect("small"));
        value -= most;
        while value >= 128 {
            self.out.push(u8::try_from(value % 128).expect("seven bits") | 0x80);
            value /= 128;
        }
        self.out.push(u8::try_from(value).expect("seven bits"));
    }

    fn string(&mut self, text: &str, coded: bool) {
        let bytes = if coded { pack(text.as_bytes()) } else { text.as_bytes().to_vec() };
        self.number(if coded { 0x80 } else { 0 }, 7, bytes.len());
        self.out.extend_from_slice(&bytes);
    }

    fn shrink(&mut self, most: usize) {
        let size = |entry: &(String, String)| 32 + entry.0.len() + entry.1.len();
        while self.table.iter().map(size).sum::<usize>() > most {
            self.table.pop();
        }
    }

    fn resize(&mut self, most: usize) {
        self.number(0x20, 5, most);
        self.most = most;
        self.shrink(most);
    }

    fn field(&mut self, name: &str, value: &str, how: u8) {
        let (coded, kept) = (how & 1 != 0, how & 2 != 0);
        let whole = self.table.iter().position(|it| it.0 == name && it.1 == value);
        if let Some(at) = whole.filter(|_| how & 4 != 0) {
            return self.number(0x80, 7, 62 + at);
        }
        let always = [(":authority", 1), (":method", 2), (":path", 4), (":scheme", 6)];
        let fixed = always.iter().find(|it| it.0 == name).map(|it| it.1);
        let own = self.table.iter().position(|it| it.0 == name).map(|at| at + 62);
        let index = if how & 8 != 0 { own.or(fixed) } else { fixed.filter(|_| how & 16 != 0) };
        let (first, bits) = match (kept, how & 32 != 0) {
            (true, _) => (0x40, 6),
            (false, true) => (0x10, 4),
            (false, false) => (0, 4),
        };
        self.number(first, bits, index.unwrap_or(0));
        if index.is_none() {
            self.string(name, coded);
        }
        self.string(value, coded);
        if kept {
            self.shrink(self.most.saturating_sub(32 + name.len() + value.len()));
            self.table.insert(0, (name.to_owned(), value.to_owned()));
            self.shrink(self.most);
        }
    }
}

/// The frames of a request, and how many fields it has.
fn frames_of(packer: &mut Packer, block: &Block, stream: u32) -> (Vec<u8>, usize) {
    let path = format!("/{}", block.pseudo[2] % 3);
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":path", &path), (":authority", "x")];
    packer.out.clear();
    if let Some(most) = block.resize {
        packer.resize(usize::from(most));
    }
    for ((name, value), how) in pseudo.into_iter().zip(block.pseudo) {
        packer.field(name, value, how);
    }
    for (name, length, how) in &block.fields {
        let name = ["a", "accept", "x-a-longer-name-than-others", "user-agent", "te2", "upgrade-x"]
            [usize::from(*name)];
        let value = "v0/:;x ".repeat(60);
        packer.field(name, value[..usize::from(*length)].trim(), *how);
    }
    let mut ends: Vec<usize> =
        block.cuts.iter().map(|cut| usize::from(*cut) % (packer.out.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(packer.out.len());
    let (mut bytes, mut from) = (Vec::new(), 0);
    for (number, end) in ends.iter().enumerate() {
        let last = if number + 1 == ends.len() { END_HEADERS } else { 0 };
        let (kind, ended) =
            if number == 0 { (HEADERS_BYTE, END_STREAM) } else { (CONTINUATION_BYTE, 0) };
        bytes.extend(frame_of(kind, last | ended, stream, &packer.out[from..*end]));
        from = *end;
    }
    (bytes, 4 + block.fields.len())
}

/// What the library makes of the requests: their fields, and what they ask for.
fn unpacked(bytes: &[u8], count: usize) -> Vec<(usize, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let settings = frame_of(4, 0, 0, &[]);
        ours.write_all(&[PREFACE, &settings, bytes].concat()).await.expect("room");
        let mut connection = h2::server::handshake(theirs).await.expect("HTTP/2");
        let mut requests = Vec::new();
        while requests.len() < count {
            let (request, _) = connection.accept().await.expect("more").expect("a request");
            requests.push((4 + request.headers().len(), request.uri().path().to_owned()));
        }
        requests
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_are_seen_as_they_are_unpacked(blocks in blocks(), size in 1usize..50) {
        let mut packer = Packer { table: Vec::new(), most: 4096, out: Vec::new() };
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (number, block) in blocks.iter().enumerate() {
            let stream = u32::try_from(2 * number + 1).expect("few");
            let (frames, count) = frames_of(&mut packer, block, stream);
            bytes.extend(frames);
            expected.push((count, format!("/{}", block.pseudo[2] % 3)));
        }
        prop_assert_eq!(&unpacked(&bytes, blocks.len()), &expected, "the encoder is right");
        let (mut frames, mut fields, mut seen) = (Frames::new(), Fields::new(), Vec::new());
        let all = [Name::Method, Name::Scheme, Name::Path, Name::Authority].map(bit);
        let all: u16 = all.iter().sum();
        let mut ends = false;
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() {
                match frames.next(&mut piece) {
                    Part::HalfHead => {}
                    Part::Head(head) => {
                        if head.flags & END_STREAM != 0 {
                            fields.begin();
                        }
                        ends = head.flags & END_HEADERS != 0;
                    }
                    Part::Payload(of_block) => fields.push(of_block),
                }
                if ends && frames.is_payload_whole() {
                    ends = false;
                    prop_assert_eq!(fields.step, Step::Field);
                    prop_assert_eq!(fields.seen, all);
                    prop_assert!(!fields.is_disordered() && !fields.has_fragment());
                    seen.push(fields.count());
                }
            }
        }
        let counts: Vec<_> = expected.iter().map(|it| it.0).collect();
        prop_assert_eq!(seen, counts);
    }
}
