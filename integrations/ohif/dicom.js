// The few bytes of a DICOM file that the panel needs.

const SOP_INSTANCE_UID = 0x00080018;
const SERIES_INSTANCE_UID = 0x0020000e;
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);

/**
 * SOP Instance UID and Series Instance UID of a file in Explicit VR Little Endian, which `tips-med serve` writes.
 * Sequences are passed over as a whole: a UID in one of them is that of another object.
 *
 * @param {ArrayBuffer} buffer The file.
 * @returns {{instance: string, series: string}}
 */
export function uidsOf(buffer) {
  const view = new DataView(buffer);
  const text = (at, length) => String.fromCharCode(...new Uint8Array(buffer, at, length));
  const found = {};
  try {
    if (text(128, 4) !== "DICM") throw new RangeError("no DICOM file");
    for (let at = 132; at + 8 <= view.byteLength; ) {
      const tag = view.getUint16(at, true) * 0x10000 + view.getUint16(at + 2, true);
      if (tag > SERIES_INSTANCE_UID) break;
      const long = LONG.has(text(at + 4, 2));
      const length = long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
      if (length === 0xffffffff) throw new RangeError("a sequence of undefined length");
      const start = at + (long ? 12 : 8);
      if (tag === SOP_INSTANCE_UID || tag === SERIES_INSTANCE_UID) found[tag] = text(start, length).replace(/[\0 ]+$/, "");
      at = start + length;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  const { [SOP_INSTANCE_UID]: instance, [SERIES_INSTANCE_UID]: series } = found;
  if (!instance || !series) throw new Error("the segmentation that the server sent cannot be read");
  return { instance, series };
}
