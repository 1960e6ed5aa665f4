// An example of OHIF's app-config.js with the panel. The archive and tips-med serve are behind the same reverse proxy.
window.config = {
  routerBasename: null,
  extensions: ["/tips-med-ohif/extension.js"],
  modes: [],
  showStudyList: true,
  // The panel, first of the right ones, in every mode.
  customizationService: { mode: { "*": { rightPanels: { $unshift: ["tips-med.panelModule.ask"] } } } },
  tipsMed: {
    server: "/tips-med", // where the proxy has tips-med serve
    dicomweb: "http://127.0.0.1:8042/dicom-web", // the archive as tips-med serve reaches it: its --dicomweb
  },
  defaultDataSourceName: "archive",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "archive",
      configuration: {
        friendlyName: "Orthanc",
        name: "archive",
        qidoRoot: "/dicom-web",
        wadoRoot: "/dicom-web",
        qidoSupportsIncludeField: false,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
