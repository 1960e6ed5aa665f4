-- Forwards every stable CT study to the node, named "tips-node" in DicomModalities of Orthanc's configuration:
--   "DicomModalities": { "tips-node": ["TIPS_NODE", "127.0.0.1", 11112] }
-- Results that the node sends back are of other modalities, so they are not forwarded. The study becomes stable once
-- more when they have come, and its images are sent once more: the node knows them, and takes no notice.
function OnStableStudy(studyId, tags, metadata, origin)
  local wanted = {}
  for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. studyId .. '/series'))) do
    if series['MainDicomTags']['Modality'] == 'CT' then
      table.insert(wanted, series['ID'])
    end
  end
  if #wanted > 0 then
    -- A job of its own. SendToModality takes single instances only, and Orthanc 1.10 ends when it is given a list.
    local job = { Resources = wanted, Synchronous = false }
    RestApiPost('/modalities/tips-node/store', DumpJson(job, true))
  end
end
