// What the panel asks of the viewer: which series is open, and to show a segmentation on it.
import { uidsOf } from "./dicom.js";

const PATIENCE_MS = 30_000;
const LABELMAP = "Labelmap"; // of Cornerstone's SegmentationRepresentations

export class Viewer {
  /** @param {string | null} dicomweb Root of the archive as the server reaches it; the viewer's own when null. */
  constructor(servicesManager, commandsManager, extensionManager, dicomweb) {
    this.services = servicesManager.services;
    this.commands = commandsManager;
    this.extensions = extensionManager;
    this.dicomweb = dicomweb;
  }

  /**
   * The CT series in the active viewport.
   *
   * @returns {{dicomweb: string, study: string, series: string, viewport: string}}
   */
  openSeries() {
    const { viewportGridService } = this.services;
    const viewport = viewportGridService.getActiveViewportId();
    const shown = this.#displaySets(viewport).find((one) => one.Modality === "CT");
    if (!shown) throw new Error("no CT series is open in the active viewport");
    return {
      dicomweb: this.dicomweb ?? new URL(this.#configuration().wadoRoot, location.href).href,
      study: shown.StudyInstanceUID,
      series: shown.SeriesInstanceUID,
      viewport,
    };
  }

  /**
   * Stores a segmentation in the archive (STOW-RS), and shows it on the series that it belongs to.
   *
   * @param {ArrayBuffer} file The DICOM file.
   * @param {{study: string, series: string, viewport: string}} open What it was asked about.
   * @param {AbortSignal} signal Aborted when the study is closed: nothing is shown then.
   */
  async showSegmentation(file, open, signal) {
    const { displaySetService, segmentationService, userAuthenticationService } = this.services;
    const { series } = uidsOf(file);
    const { study, viewport } = open;
    const [source] = this.extensions.getActiveDataSource();
    let [shown] = displaySetService.getDisplaySetsForSeries(series) ?? [];
    if (!shown) {
      await source.store.dicom(file);
      shown = await this.#added(source, study, series);
    }
    if (!segmentationService.getSegmentation(shown.displaySetInstanceUID)) {
      await shown.load({ headers: userAuthenticationService.getAuthorizationHeader() });
    }
    signal.throwIfAborted();
    if (!this.#displaySets(viewport).some((one) => one.SeriesInstanceUID === open.series)) {
      throw new Error("the segmentation is in the archive; the viewport shows another series by now");
    }
    const segmentationId = shown.displaySetInstanceUID;
    // Kept for this series, so that it is still there when the viewport has shown something else.
    this.commands.runCommand("updateStoredSegmentationPresentation", { displaySet: shown, type: LABELMAP });
    await segmentationService.addSegmentationRepresentation(viewport, { segmentationId, type: LABELMAP });
    segmentationService.jumpToSegmentCenter(segmentationId, 1, viewport);
  }

  /** Reads the new series from the archive; the viewer makes a display set of it. */
  async #added(source, study, series) {
    const { displaySetService } = this.services;
    // OHIF keeps what it read of a study under "name:UID", and would not look for a new series.
    const kept = [study, `${this.#configuration().name}:${study}`];
    const forget = () => kept.forEach((key) => source.deleteStudyMetadataPromise?.(key));
    forget();
    await source.retrieve.series.metadata({ StudyInstanceUID: study, filters: { seriesInstanceUID: [series] } });
    forget();
    return seen(() => displaySetService.getDisplaySetsForSeries(series)?.[0]);
  }

  #displaySets(viewport) {
    const { viewportGridService, displaySetService } = this.services;
    const uids = viewportGridService.getDisplaySetsUIDsForViewport(viewport) ?? [];
    return uids.map((uid) => displaySetService.getDisplaySetByUID(uid)).filter(Boolean);
  }

  #configuration() {
    return this.extensions.getActiveDataSourceDefinition().configuration;
  }
}

/** What a look gives as soon as it gives anything: the viewer does not report when it has done what was asked. */
async function seen(look) {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; ) {
    const found = look();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("the segmentation is in the archive, but the viewer does not show it; reload the page");
}
