// An extension of the OHIF viewer: a panel to type a query for the open series. Research use only, not a medical device.
// It is loaded by its address when the viewer starts; there is nothing to build.
import { createPanel } from "./panel.js";
import { Server } from "./server.js";
import { Viewer } from "./viewer.js";

const ID = "tips-med";

// OHIF gives React to no module that it loads by address. This is the object that JSX is compiled to for React 18 (as Babel's
// plugin "transform-react-inline-elements" writes it); all that is inside of the element is plain DOM.
function reactElement(type, props, ref) {
  return { $$typeof: Symbol.for("react.element"), type, key: null, ref, props, _owner: null };
}

function settingsOf(appConfig) {
  const { server = "/tips-med", dicomweb = null } = appConfig.tipsMed ?? {};
  return { server, dicomweb };
}

let panel = null;

export default {
  id: ID,

  onModeExit() {
    panel?.reset();
  },

  getPanelModule({ servicesManager, commandsManager, extensionManager, appConfig }) {
    const { server, dicomweb } = settingsOf(appConfig);
    const viewer = new Viewer(servicesManager, commandsManager, extensionManager, dicomweb);
    panel = createPanel(new Server(server), viewer);
    // One function for all renderings: React calls it when the panel comes and goes, and not in between.
    const mount = (place) => {
      if (place) place.append(panel.element);
      else panel.element.remove();
    };
    return [
      {
        name: "ask",
        iconName: "icon-search",
        iconLabel: "Ask",
        label: "Where is it?",
        component: () => reactElement("div", { style: { height: "100%", overflowY: "auto" } }, mount),
      },
    ];
  },
};
