-- Forwards every stable CT study to the node, named "tips-node" in DicomModalities of Orthanc's configuration:
--   "DicomModalities": { "tips-node": ["TIPS_NODE", "127.0.0.1", 11112] }
-- Results that the node sends back are of other modalities, so they are not forwarded again.
function OnStableStudy(studyId, tags, metadata, origin)
  local images = {}
  for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. studyId .. '/series'))) do
    if series['MainDicomTags']['Modality'] == 'CT' then
      for _, instance in ipairs(series['Instances']) do
        table.insert(images, instance)
      end
    end
  end
  if #images > 0 then
    SendToModality(images, 'tips-node')
  end
end
